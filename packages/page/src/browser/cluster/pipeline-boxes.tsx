import { bytesWords, durationWords, layerWords, plural, shareWords, speedWords } from '../parts/format.js';
import { kept } from '../parts/kept.js';
import { Bar, ConfirmButton, Pill } from '../parts/ui.js';
import type { Hop, Pipeline, StageBox } from './pipeline.js';

/** More of them are drawn smaller. */
const largeStagesMax = 12;

/** The way of a step, from the orchestrator through all stages and back. */
export function PipelineBoxes(props: {
  readonly pipeline: Pipeline;
  readonly stepsPerSecond: number;
  readonly isLive: boolean;
  readonly onDrain: (workerId: string) => Promise<unknown>;
}) {
  const { pipeline, stepsPerSecond, isLive } = props;
  const { stages, hops } = pipeline;
  const isMoving = isLive && stepsPerSecond > 0;
  // One step is shown on its way at a time; faster than the eye follows says nothing more.
  const periodS = Math.min(2, Math.max(0.35, 1 / Math.max(stepsPerSecond, 0.01)));
  const classes = ['pipeline', stages.length > largeStagesMax ? 'small' : '', isMoving ? 'moving' : ''];
  return (
    <ol
      class={classes.join(' ')}
      style={{ '--period': `${periodS.toFixed(2)}s` }}
      aria-label="The way of a step"
    >
      <li class="end">
        <span class="box">orchestrator</span>
      </li>
      {stages.map((stage, index) => (
        <li key={`${stage.workerId} ${stage.layers[0]}`}>
          <KeptHop hop={hops[index] ?? null} />
          <KeptStage stage={stage} onDrain={props.onDrain} />
        </li>
      ))}
      <li class="end">
        <KeptHop hop={hops[stages.length] ?? null} />
        <span class="box">tokens back</span>
      </li>
    </ol>
  );
}

function HopArrow({ hop }: { readonly hop: Hop | null }) {
  return (
    <span class={`hop${hop?.isRelayed === true ? ' relayed' : ''}`}>
      <span class="wire" aria-hidden="true">
        <span class="step" />
      </span>
      {hop && (
        <span class="hop-words">
          <span>{durationWords(hop.latencyMs)}</span>
          <span>{speedWords(hop.bytesPerSecond)}</span>
          {hop.isRelayed && <span>relayed</span>}
        </span>
      )}
    </span>
  );
}

function Stage(props: {
  readonly stage: StageBox;
  readonly onDrain: (workerId: string) => Promise<unknown>;
}) {
  const { stage } = props;
  const { name, layers, usedBytes, offeredBytes, host, measuredMs, plannedMs, busyShare } = stage;
  const isSlow = measuredMs !== null && measuredMs > 1.5 * plannedMs;
  return (
    <article class={`box stage${stage.isGone ? ' gone' : ''}`} aria-label={`Stage on ${name}`}>
      <h4 title={stage.workerId}>{name}</h4>
      <p>
        <b>{layerWords(layers)}</b> <span class="quiet">({plural(layers[1] - layers[0] + 1, 'layer')})</span>
      </p>
      <p class="quiet device" title={stage.device}>
        {stage.device}
      </p>
      <p class="measure">
        <span>busy</span>
        <Bar share={busyShare} label="busy" />
        <span>{shareWords(busyShare)}</span>
      </p>
      <p class="measure">
        <span>memory</span>
        <Bar share={usedBytes / Math.max(1, offeredBytes)} label="memory" tone="quiet" />
        <span>
          {bytesWords(usedBytes)} / {bytesWords(offeredBytes)}
        </span>
      </p>
      {host && (
        <p class="quiet">
          beside the card {bytesWords(host.usedBytes)} of {bytesWords(host.offeredBytes)}
        </p>
      )}
      <p class="quiet speed" title="Time of a step of one token: as it was of late, and as the plan has it">
        {measuredMs === null ? '' : `${durationWords(measuredMs)} a step; `}
        {`planned ${durationWords(plannedMs)}`}
      </p>
      <p class="tags">
        {stage.isSlowest && <Pill tone="warn">sets the pace</Pill>}
        {isSlow && <Pill tone="warn">slower than planned</Pill>}
        {stage.isDraining && <Pill tone="busy">draining</Pill>}
        {stage.isGone && <Pill tone="bad">gone</Pill>}
      </p>
      {!stage.isDraining && !stage.isGone && (
        <ConfirmButton
          label={`Drain ${name}`}
          question={`The layers of ${name} go to other workers, and then it leaves. Answers that are under way go on.`}
          confirm={`Drain ${name}`}
          work={() => props.onDrain(stage.workerId)}
        >
          Drain
        </ConfirmButton>
      )}
    </article>
  );
}

const KeptHop = kept(HopArrow, ({ hop }) => [hop?.latencyMs, hop?.bytesPerSecond, hop?.isRelayed]);

/** Nobody sees less than a hundredth of a bar. */
const KeptStage = kept(Stage, ({ stage: { busyShare, layers, host, ...stage } }) => [
  ...Object.values(stage),
  Math.round(busyShare * 100),
  ...layers,
  host?.usedBytes,
]);
