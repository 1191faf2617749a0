import { useEffect, useState } from 'preact/hooks';
import { ChatView } from './chat/chat-view.js';
import type { ChatDesk } from './chat/chat-desk.js';
import { ClusterView } from './cluster/cluster-view.js';
import { JoinView } from './join/join-view.js';
import { clockWords } from './parts/format.js';
import { useNow, usePage, useStore } from './parts/page-context.js';
import { Pill } from './parts/ui.js';
import { PerformanceView } from './performance/performance-view.js';
import { RequestsView } from './requests/requests-view.js';
import { isLate } from './state/live-state.js';
import { applyTheme, readTheme, type Theme, themes } from './state/settings.js';
import { KeyPrompt } from './key-prompt.js';
import { routeOf, type Tab, tabs } from './route.js';

export function App({ desk }: { readonly desk: ChatDesk }) {
  const { live, link } = usePage();
  const nowMs = useNow();
  const [{ tab, id }, setRoute] = useState(routeOf(location.hash));
  useEffect(() => {
    const follow = (): void => setRoute(routeOf(location.hash));
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  const late = isLate(live, nowMs);
  // At the start nothing is known yet, which is no alarm.
  const isStarting = live.lastPulseMs === null && link.kind !== 'broken';
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to what is shown
      </a>
      <header class="top">
        <h1>Butterfly</h1>
        <Tabs current={tab} />
        <div class="beside">
          <Standing isLate={late} isStarting={isStarting} />
          <ThemeChoice />
        </div>
      </header>
      {late && !isStarting && link.kind !== 'denied' && <SilenceBanner />}
      {link.kind === 'denied' && <KeyPrompt />}
      <main id="main" tabIndex={-1} class={late && !isStarting && tab !== 'chat' ? 'stale' : ''}>
        {link.kind === 'denied' && tab !== 'chat' ? null : <View {...{ tab, id, desk }} />}
      </main>
    </>
  );
}

/** The hash is of the tabs, so that the browser cannot follow the link by itself. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function View({ tab, id, desk }: { readonly tab: Tab; readonly id: string | null; readonly desk: ChatDesk }) {
  switch (tab) {
    case 'cluster':
      return <ClusterView />;
    case 'requests':
      return <RequestsView openedId={id} />;
    case 'performance':
      return <PerformanceView />;
    case 'chat':
      return <ChatView desk={desk} />;
    case 'join':
      return <JoinView />;
    default:
      return tab satisfies never;
  }
}

function Tabs({ current }: { readonly current: Tab }) {
  return (
    <nav aria-label="Views">
      {tabs.map((tab) => (
        <a key={tab} href={`#/${tab}`} aria-current={tab === current ? 'page' : undefined}>
          {`${tab.charAt(0).toUpperCase()}${tab.slice(1)}`}
        </a>
      ))}
    </nav>
  );
}

/** Whether the cluster serves, as far as that is known. */
function Standing({ isLate: late, isStarting }: { readonly isLate: boolean; readonly isStarting: boolean }) {
  const { live } = usePage();
  if (isStarting) return <Pill tone="quiet">connecting</Pill>;
  if (late || live.cluster === null) return <Pill tone="bad">no sign of life</Pill>;
  return live.cluster.isReady ? (
    <Pill tone="good">ready</Pill>
  ) : (
    <span title={live.cluster.detail}>
      <Pill tone="warn">not ready</Pill>
    </span>
  );
}

function SilenceBanner() {
  const { live, link } = usePage();
  const store = useStore();
  const since = live.lastPulseMs;
  return (
    <div class="banner" role="alert">
      <span>
        {since === null
          ? 'No sign of life yet.'
          : `No sign of life since ${clockWords(since)}; what is shown may be out of date.`}
        {link.kind === 'broken' && ` ${link.words}`}
      </span>
      <button type="button" onClick={() => store.start()}>
        Try now
      </button>
    </div>
  );
}

function ThemeChoice() {
  const [theme, setTheme] = useState<Theme>(readTheme());
  return (
    <select
      aria-label="Colours"
      value={theme}
      onChange={({ currentTarget }) => {
        const chosen = currentTarget.value as Theme;
        applyTheme(chosen);
        setTheme(chosen);
      }}
    >
      {themes.map((each) => (
        <option key={each} value={each}>
          {each === 'system' ? 'auto' : each}
        </option>
      ))}
    </select>
  );
}
