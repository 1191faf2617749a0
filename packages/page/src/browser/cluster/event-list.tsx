import type { EventView } from '@butterfly/telemetry';
import { useState } from 'preact/hooks';
import { momentWords, rounded } from '../parts/format.js';
import { kept } from '../parts/kept.js';
import { Panel, Pill, type Tone } from '../parts/ui.js';

const levels = ['debug', 'info', 'warn', 'error'] as const;
type Level = (typeof levels)[number];
const tones: Readonly<Record<Level, Tone>> = { debug: 'quiet', info: 'quiet', warn: 'warn', error: 'bad' };
const shownMax = 200;

/** What happened, the newest first. */
function Events({ events, nowMs }: { readonly events: readonly EventView[]; readonly nowMs: number }) {
  const [least, setLeast] = useState<Level>('info');
  const found = events.filter(({ level }) => levels.indexOf(level) >= levels.indexOf(least));
  const filter = (
    <label>
      from{' '}
      <select value={least} onChange={({ currentTarget }) => setLeast(currentTarget.value as Level)}>
        {levels.map((level) => (
          <option key={level}>{level}</option>
        ))}
      </select>
    </label>
  );
  return (
    <Panel title="What happened" beside={filter}>
      {found.length === 0 && <p class="quiet">Nothing of this level yet.</p>}
      <ol class="events" tabIndex={0} aria-label="Events">
        {found
          .slice(-shownMax)
          .reverse()
          .map((event) => (
            <li key={event.index}>
              <time dateTime={new Date(event.atMs).toISOString()}>{momentWords(event.atMs, nowMs)}</time>
              <Pill tone={tones[event.level]}>{event.level}</Pill>
              <span>
                {event.words} <span class="quiet">{detailsOf(event)}</span>
              </span>
            </li>
          ))}
      </ol>
    </Panel>
  );
}

/** The fields that say something to a person, in one line. */
function detailsOf({ modelId, fields }: EventView): string {
  const told = Object.entries(fields)
    .filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) => `${name} ${shortWords(value)}`);
  return [...(modelId === null ? [] : [`model ${modelId}`]), ...told].join(', ').slice(0, 300);
}

/** Hashes by their beginning, and numbers as people read them. */
function shortWords(value: unknown): string {
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : rounded(value);
  return String(value).replaceAll(/\b[\da-f]{8}[\da-f]{24,}\b/g, (hash) => `${hash.slice(0, 8)}…`);
}

/** Of the time, the day alone matters here. */
export const EventList = kept(Events, ({ events, nowMs }) => [events, new Date(nowMs).toDateString()]);
