import type { ClusterGlance, EventView } from '@butterfly/telemetry';
import { bytesWords, momentWords, shareWords } from '../parts/format.js';
import { useStore } from '../parts/page-context.js';
import { Bar, ConfirmButton, Panel, Pill, type Tone } from '../parts/ui.js';
import { type IdleWorker, idleWorkersOf, lostWorkersOf } from './pipeline.js';

const words: Readonly<Record<IdleWorker['state'], readonly [Tone, string]>> = {
  measuring: ['busy', 'joining: measures itself'],
  loading: ['busy', 'loading'],
  serving: ['good', 'serving'],
  spare: ['good', 'spare: holds a copy'],
  idle: ['quiet', 'holds nothing'],
  draining: ['busy', 'draining'],
  leftOut: ['warn', 'left out for a while'],
};

/** Who is in no plan: joining, spare, draining, or lost. */
export function Apart(props: {
  readonly cluster: ClusterGlance;
  readonly events: readonly EventView[];
  readonly nowMs: number;
}) {
  const idle = idleWorkersOf(props.cluster);
  const lost = lostWorkersOf(props.cluster, props.events, props.nowMs);
  const drains = new Map(
    props.cluster.models
      .flatMap(({ cluster }) => cluster?.drains ?? [])
      .filter(({ state }) => state === 'kept' || state === 'lost')
      .map((drain) => [drain.workerId, drain]),
  );
  if (idle.length + lost.length + drains.size === 0) return null;
  return (
    <Panel title="Beside the plans">
      <ul class="apart">
        {idle.map((worker) => (
          <Idle key={worker.workerId} worker={worker} />
        ))}
        {lost.map(({ workerId, name, atMs, words: reason }) => (
          <li key={`lost ${workerId}`} class="box lost">
            <h3 title={workerId}>{name}</h3>
            <Pill tone="bad">lost</Pill>
            <p class="quiet">
              {momentWords(atMs, props.nowMs)}: {reason}
            </p>
          </li>
        ))}
        {[...drains.values()].map(({ workerId, name, state }) => (
          <li key={`drain ${workerId}`} class="box">
            <h3>{name}</h3>
            <p class="quiet">
              {state === 'kept'
                ? 'was to be drained and stays: the others could not go without it'
                : 'was lost before it was empty; it is drained on when it comes back'}
            </p>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Idle({ worker }: { readonly worker: IdleWorker }) {
  const store = useStore();
  const { workerId, name, state, device, offeredBytes, loadedShare } = worker;
  const [tone, said] = words[state];
  return (
    <li class="box">
      <h3 title={workerId}>{name}</h3>
      <Pill tone={tone}>{said}</Pill>
      {loadedShare !== null && (
        <p class="measure">
          <span>loaded</span>
          <Bar share={loadedShare} label="loaded" />
          <span>{shareWords(loadedShare)}</span>
        </p>
      )}
      <p class="quiet">
        {device}, {bytesWords(offeredBytes)}
      </p>
      {state !== 'draining' && (
        <ConfirmButton
          label={`Drain ${name}`}
          question={`${name} is emptied, and then leaves the cluster.`}
          confirm={`Drain ${name}`}
          work={() => store.api.post(`/cluster/workers/${encodeURIComponent(workerId)}/drain`)}
        >
          Drain
        </ConfirmButton>
      )}
    </li>
  );
}
