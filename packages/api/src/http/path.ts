/** Whether a path is this one or below it. Slashes at the end and doubled ones make no difference to routes. */
export function isBelow(path: string, root: string): boolean {
  const plain = path.replaceAll(/\/{2,}/g, '/');
  return plain.startsWith(root) && /^(?:$|[/?#])/.test(plain.slice(root.length));
}
