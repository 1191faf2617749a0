import type { RequestState, RequestView } from '@butterfly/telemetry';
import { useState } from 'preact/hooks';
import { clockWords, countWords, durationWords, rounded, shareWords } from '../parts/format.js';
import { usePage } from '../parts/page-context.js';
import { kept } from '../parts/kept.js';
import { Panel, Pill, type Tone, Heads } from '../parts/ui.js';
import { filtered, type RequestFilter } from './filter.js';
import { OpenedRequest } from './opened-request.js';

const tones: Readonly<Record<RequestState, Tone>> = {
  waiting: 'quiet',
  queued: 'warn',
  prefill: 'busy',
  decode: 'busy',
  recovering: 'warn',
  done: 'good',
  cancelled: 'quiet',
  failed: 'bad',
};
/** As many rows as a browser draws anew twice a second without a thought; more on a click. */
const shownAtOnce = 100;

/** @param openedId of the address; null for the list alone */
export function RequestsView({ openedId }: { readonly openedId: string | null }) {
  const { live } = usePage();
  const nowMs = Date.now() + live.skewMs;
  const [filter, setFilter] = useState<RequestFilter>({ group: 'all', text: '' });
  const [shown, show] = useState(shownAtOnce);
  const found = filtered(live.requests, filter);
  return (
    <>
      {openedId !== null && <OpenedRequest key={openedId} id={openedId} />}
      <Panel title="Requests" beside={<Filter filter={filter} onChange={setFilter} />}>
        <div class="scroll" tabIndex={0} role="region" aria-label="List of requests">
          <table>
            <Heads
              of={[
                'Request',
                'State',
                'Began',
                'Took',
                'Prompt',
                'Cached',
                'Answer',
                'First token',
                'Tokens/s',
                'Replays',
              ]}
            />
            <tbody>
              {found.slice(0, shown).map((request) => (
                <KeptRow key={request.id} request={request} nowMs={nowMs} isOpen={request.id === openedId} />
              ))}
            </tbody>
          </table>
        </div>
        {found.length === 0 && <p class="quiet">No request is like that.</p>}
        {found.length > shown && (
          <button type="button" onClick={() => show(shown + shownAtOnce)}>
            Show more of {countWords(found.length)}
          </button>
        )}
      </Panel>
    </>
  );
}

function Filter(props: {
  readonly filter: RequestFilter;
  readonly onChange: (filter: RequestFilter) => void;
}) {
  const { filter, onChange } = props;
  return (
    <div class="beside">
      <label>
        <span class="hidden">Which requests</span>
        <select
          value={filter.group}
          onChange={({ currentTarget: { value } }) =>
            onChange({ ...filter, group: value as RequestFilter['group'] })
          }
        >
          <option value="all">all</option>
          <option value="queued">queued</option>
          <option value="running">running</option>
          <option value="ended">ended</option>
          <option value="failed">failed</option>
        </select>
      </label>
      <input
        type="search"
        placeholder="id, model, key, error"
        aria-label="Look for"
        value={filter.text}
        onInput={({ currentTarget: { value } }) => onChange({ ...filter, text: value })}
      />
    </div>
  );
}

function Row(props: { readonly request: RequestView; readonly nowMs: number; readonly isOpen: boolean }) {
  const { request, nowMs, isOpen } = props;
  const { id, route, modelId, state, startedMs, endedMs, promptTokens, cachedTokens, error } = request;
  const took = Math.max(0, (endedMs ?? nowMs) - startedMs);
  return (
    <tr class={isOpen ? 'open' : ''}>
      <th scope="row">
        <a href={`#/requests/${encodeURIComponent(id)}`} aria-current={isOpen ? 'true' : undefined}>
          {id.replace(/^req_(.{8}).*/, '$1')}
        </a>
        <span class="quiet">
          {' '}
          {[route.replace(/^POST /, ''), modelId, request.tenant].filter(Boolean).join(' · ')}
        </span>
        {error && <span class="error-words"> {error.code}</span>}
      </th>
      <td>
        <Pill tone={tones[state]}>{state}</Pill>
      </td>
      <td>{clockWords(startedMs)}</td>
      <td>{durationWords(took)}</td>
      <td>{countWords(promptTokens)}</td>
      <td>{promptTokens > 0 ? shareWords(cachedTokens / promptTokens) : '–'}</td>
      <td>
        {countWords(request.outputTokens)}
        {request.sequences > 1 && ` (of ${request.sequences})`}
      </td>
      <td>{request.firstTokenMs === null ? '–' : durationWords(request.firstTokenMs)}</td>
      <td>{request.tokensPerSecond === null ? '–' : rounded(request.tokensPerSecond)}</td>
      <td>{request.replays === 0 ? '' : <Pill tone="warn">{request.replays}</Pill>}</td>
    </tr>
  );
}

/** What is over stays as it is. */
const KeptRow = kept(Row, ({ request, nowMs, isOpen }) => [
  ...(Object.values(request) as readonly unknown[]),
  request.endedMs === null ? nowMs : null,
  isOpen,
]);
