import { createContext } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import type { PageState, PageStore } from '../state/page-state.js';

export const PageContext = createContext<PageStore | null>(null);

/** @throws Error outside of the page */
export function useStore(): PageStore {
  const store = useContext(PageContext);
  if (store === null) throw new Error('There is no store here. This is a defect, please report it.');
  return store;
}

/** What the page shows now; whoever asks is drawn anew when it changes. */
export function usePage(): PageState {
  const store = useStore();
  const [, redraw] = useState(0);
  useEffect(() => store.subscribe(() => redraw((count) => count + 1)), [store]);
  return store.state;
}

/** The time of this machine, twice a second. */
export function useNow(): number {
  const [nowMs, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  return nowMs;
}
