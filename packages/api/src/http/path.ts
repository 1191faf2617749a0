/** Whether a path is this one or below it. Slashes at the end and doubled ones make no difference to routes. */
export function isBelow(path: string, root: string): boolean {
  const plain = path.replaceAll(/\/{2,}/g, '/');
  return plain.startsWith(root) && /^(?:$|[/?#])/.test(plain.slice(root.length));
}

/** What of a URL may be repeated: behind a question mark some clients put their key. */
export function pathOf(url: string): string {
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}
