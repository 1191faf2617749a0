/** Reads and writes what a browser keeps; where it keeps nothing, as in a private window, nothing is remembered. */
export function readKept(store: 'local' | 'session', name: string): string | null {
  try {
    return (store === 'local' ? localStorage : sessionStorage).getItem(name);
  } catch {
    return null;
  }
}

/** @param value null forgets it. @returns whether there was room for it */
export function keep(store: 'local' | 'session', name: string, value: string | null): boolean {
  try {
    const place = store === 'local' ? localStorage : sessionStorage;
    if (value === null) place.removeItem(name);
    else place.setItem(name, value);
    return true;
  } catch {
    return false;
  }
}

const keyName = 'butterfly-key';

/** With which the server is asked; null for none. */
export function readKey(): string | null {
  return readKept('session', keyName) ?? readKept('local', keyName);
}

/** @param isRemembered whether it outlives this window */
export function keepKey(key: string | null, isRemembered: boolean): void {
  keep('session', keyName, key);
  keep('local', keyName, isRemembered ? key : null);
}

export const themes = ['system', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

export function readTheme(): Theme {
  const kept = readKept('local', 'butterfly-theme');
  return themes.find((theme) => theme === kept) ?? 'system';
}

export function applyTheme(theme: Theme): void {
  keep('local', 'butterfly-theme', theme === 'system' ? null : theme);
  document.documentElement.dataset.theme = theme;
}
