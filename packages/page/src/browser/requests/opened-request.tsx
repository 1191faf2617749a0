import type { RequestTimeline } from '@butterfly/telemetry';
import { useEffect, useState } from 'preact/hooks';
import { countWords, durationWords, momentWords, rounded } from '../parts/format.js';
import { useNow, usePage, useStore } from '../parts/page-context.js';
import { Figure, Panel, Heads } from '../parts/ui.js';
import { failureOf } from '../state/api.js';
import { times } from '../state/bounds.js';
import { marksOf, shapeOf, spanKinds, spanWords, type TimelineRow, type TimelineShape } from './timeline.js';

/** One request as a timeline, asked for once a second while it runs. */
export function OpenedRequest({ id }: { readonly id: string }) {
  const { api } = useStore();
  const { live } = usePage();
  const nowMs = useNow() + live.skewMs;
  const [timeline, setTimeline] = useState<RequestTimeline | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  useEffect(() => {
    let isGone = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (): Promise<void> => {
      let isOver: boolean;
      try {
        const told = await api.get<RequestTimeline>(`/cluster/requests/${encodeURIComponent(id)}`);
        if (isGone) return;
        setTimeline(told);
        setFailure(null);
        isOver = told.endedMs !== null;
      } catch (thrown) {
        const { message, status } = failureOf(thrown);
        if (isGone) return;
        setFailure(message);
        isOver = status === 404;
      }
      if (!isOver) timer = setTimeout(() => void ask(), times.timelineEvery);
    };
    void ask();
    return () => {
      isGone = true;
      clearTimeout(timer);
    };
  }, [api, id]);
  return (
    <Panel title={`Request ${id}`} beside={<a href="#/requests">Close</a>}>
      {failure !== null && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      {timeline === null ? (
        failure === null && <p class="quiet">Asked for…</p>
      ) : (
        <Timeline request={timeline} nowMs={nowMs} />
      )}
    </Panel>
  );
}

function Timeline({ request, nowMs }: { readonly request: RequestTimeline; readonly nowMs: number }) {
  const shape = shapeOf(request, nowMs);
  const kinds = spanKinds.filter((each) => request.spans.some(({ kind }) => kind === each));
  return (
    <>
      <dl class="figures">
        <Figure label="State" value={request.state} />
        <Figure label="Began" value={momentWords(request.startedMs, nowMs)} />
        <Figure label="Took" value={durationWords(shape.totalMs)} />
        <Figure label="Prompt" value={`${countWords(request.promptTokens)} tokens`} />
        <Figure label="Of these cached" value={countWords(request.cachedTokens)} />
        <Figure label="Answer" value={`${countWords(request.outputTokens)} tokens`} />
        <Figure
          label="First token"
          value={request.firstTokenMs === null ? '–' : durationWords(request.firstTokenMs)}
        />
        <Figure
          label="Tokens/s"
          value={request.tokensPerSecond === null ? '–' : rounded(request.tokensPerSecond)}
        />
        <Figure label="Replays" value={countWords(request.replays)} />
      </dl>
      {request.error && (
        <p class="failure">
          <b>{request.error.code}</b> {request.error.message}
        </p>
      )}
      <ul class="legend spans">
        {kinds.map((kind) => (
          <li key={kind} class={`span-${kind}`}>
            {spanWords(kind)}
          </li>
        ))}
      </ul>
      <Rows shape={shape} />
      <Spans request={request} />
    </>
  );
}

function Rows({ shape }: { readonly shape: TimelineShape }) {
  return (
    <div class="timeline" role="img" aria-label="Timeline; the table below has the same in words">
      <div class="marks">
        {marksOf(shape.totalMs).map((at) => (
          <span key={at} style={{ left: percent(at / shape.totalMs) }}>
            {at === 0 ? '0' : durationWords(at)}
          </span>
        ))}
      </div>
      {shape.rows.map((row) => (
        <RowOfBars key={`${row.sequence} ${row.kind} ${row.name}`} row={row} firstToken={shape.firstToken} />
      ))}
    </div>
  );
}

const percent = (share: number): string => `${(share * 100).toFixed(3)}%`;

function RowOfBars({ row, firstToken }: { readonly row: TimelineRow; readonly firstToken: number | null }) {
  return (
    <div class={`row ${row.kind}`}>
      <span class="row-name" title={row.name}>
        {row.name}
      </span>
      <div class="bars">
        {row.bars.map((bar, index) => (
          <span
            key={index}
            class={`span-${bar.kind}`}
            title={bar.words}
            style={{
              left: percent(bar.from),
              width: percent(bar.to - bar.from),
              // What computed little is low, and still seen.
              height: row.kind === 'stage' ? percent(0.12 + 0.88 * bar.weight) : '100%',
            }}
          />
        ))}
        {row.kind === 'life' && firstToken !== null && (
          <span class="first-token" title="first token" style={{ left: percent(firstToken) }} />
        )}
      </div>
    </div>
  );
}

const spansShownMax = 200;

/** The same in words, for whoever reads rather than looks. */
function Spans({ request }: { readonly request: RequestTimeline }) {
  return (
    <details>
      <summary>In words</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="Parts of the request">
        <table>
          <Heads of={['Part', 'From', 'Took', 'Tokens', 'Steps', 'Computed by', 'Because']} />
          <tbody>
            {request.spans.slice(-spansShownMax).map((span, index) => (
              <tr key={index}>
                <th scope="row">{spanWords(span.kind)}</th>
                <td>{durationWords(span.startMs)}</td>
                <td>{span.endMs === null ? 'goes on' : durationWords(span.endMs - span.startMs)}</td>
                <td>{countWords(span.tokens)}</td>
                <td>{countWords(span.steps)}</td>
                <td>
                  {span.stages.map(({ name, computeMs }) => `${name} ${durationWords(computeMs)}`).join(', ')}
                </td>
                <td>{span.words ?? ''}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
