export const tabs = ['cluster', 'requests', 'performance', 'chat', 'join'] as const;
export type Tab = (typeof tabs)[number];

/** What an address shows: `#/requests/ID` a request; the cluster for what is not known. */
export function routeOf(hash: string): { readonly tab: Tab; readonly id: string | null } {
  const [, name = '', id = ''] = hash.split('/');
  const tab = tabs.find((each) => each === name) ?? 'cluster';
  try {
    return { tab, id: id === '' ? null : decodeURIComponent(id) };
  } catch {
    return { tab, id: null };
  }
}
