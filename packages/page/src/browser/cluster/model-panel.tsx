import type { ClusterGlance, ModelGlance } from '@butterfly/telemetry';
import { bytesWords, countWords, durationWords, plural, rounded } from '../parts/format.js';
import { usePage, useStore } from '../parts/page-context.js';
import { ConfirmButton, Panel, Pill, type Tone, WorkButton } from '../parts/ui.js';
import { times } from '../state/bounds.js';
import { busySharesOf, isLate, ratesOf } from '../state/live-state.js';
import { type Pipeline, pipelinesOf } from './pipeline.js';
import { PipelineBoxes } from './pipeline-boxes.js';

/** A model: whether it answers, and its pipelines. */
export function ModelPanel({
  cluster,
  model,
}: {
  readonly cluster: ClusterGlance;
  readonly model: ModelGlance;
}) {
  const { live } = usePage();
  const pipelines = pipelinesOf(cluster, model, busySharesOf(live.pulses.at(-1)));
  return (
    <Panel title={model.id} beside={<ModelState model={model} pipelines={pipelines} />}>
      <p class="quiet">
        {model.aliases.length > 0 && `also called ${model.aliases.join(', ')} · `}
        {`context of ${countWords(model.contextTokens)} tokens`}
        {model.loadedBytes > 0 && ` · takes ${bytesWords(model.loadedBytes)} of all workers`}
      </p>
      {model.cluster?.trouble && (
        <p class="failure" role="status">
          <b>{model.cluster.trouble.code}</b> {model.cluster.trouble.message}
        </p>
      )}
      {model.cluster?.notes.map((note) => (
        <p key={note} class="note">
          {note}
        </p>
      ))}
      {pipelines.map((pipeline) => (
        <Replica
          key={pipeline.replica}
          pipeline={pipeline}
          modelId={model.id}
          isOne={pipelines.length === 1}
        />
      ))}
      <Explanation cluster={cluster} model={model} />
    </Panel>
  );
}

function ModelState({
  model,
  pipelines,
}: {
  readonly model: ModelGlance;
  readonly pipelines: readonly Pipeline[];
}) {
  const store = useStore();
  const late = isLate(store.state.live, Date.now());
  const isReady = pipelines.some((each) => each.isReady);
  const [tone, words]: readonly [Tone, string] = late
    ? ['quiet', 'not known']
    : model.state === 'loaded'
      ? isReady
        ? ['good', 'ready']
        : ['warn', 'loaded, but does not answer']
      : [model.state === 'failed' ? 'bad' : model.state === 'unloaded' ? 'quiet' : 'busy', model.state];
  const load = () => store.api.post('/models/load', { model: model.id }, times.modelLoadMax);
  const unload = () => store.api.post('/models/unload', { model: model.id }, times.modelLoadMax);
  return (
    <div class="beside">
      <Pill tone={tone}>{words}</Pill>
      {model.state === 'loaded' && (
        <ConfirmButton
          label={`Unload ${model.id}`}
          question={`Requests that it answers now are answered to their end. Whoever asks for ${model.id} afterwards has it loaded again.`}
          confirm={`Unload ${model.id}`}
          work={unload}
        >
          Unload
        </ConfirmButton>
      )}
      {(model.state === 'unloaded' || model.state === 'failed') && (
        <WorkButton label={`Load ${model.id}`} work={load}>
          Load
        </WorkButton>
      )}
    </div>
  );
}

function Replica(props: { readonly pipeline: Pipeline; readonly modelId: string; readonly isOne: boolean }) {
  const { pipeline, modelId, isOne } = props;
  const { live } = usePage();
  const { api } = useStore();
  const rates = ratesOf(live.pulses, modelId);
  return (
    <div class="replica">
      <h3>
        {isOne ? 'Pipeline' : `Replica ${pipeline.replica}`}{' '}
        <span class="quiet">
          {pipeline.stages.length > 0 && `${plural(pipeline.stages.length, 'stage')}, `}
          {pipeline.epoch !== null && `plan ${pipeline.epoch}, `}
          {`${pipeline.running} running, ${pipeline.queued} queued`}
          {pipeline.predicted && `, planned for ${rounded(pipeline.predicted.tokensPerSecond)} tokens/s`}
        </span>
      </h3>
      {!pipeline.isReady && <p class="note">{pipeline.detail}</p>}
      {pipeline.stages.length > 0 && (
        <PipelineBoxes
          pipeline={pipeline}
          stepsPerSecond={rates.stepsPerSecond}
          isLive={!isLate(live, Date.now())}
          onDrain={(workerId) => api.post(`/cluster/workers/${encodeURIComponent(workerId)}/drain`)}
        />
      )}
    </div>
  );
}

/** Why it is as it is: what each worker adds, and what is predicted and measured. */
function Explanation({ cluster, model }: { readonly cluster: ClusterGlance; readonly model: ModelGlance }) {
  const names = new Map(cluster.workers.map(({ workerId, name }) => [workerId, name]));
  const plans = (model.cluster?.replicas ?? []).flatMap(({ replica, plan }) =>
    plan ? [{ replica, plan }] : [],
  );
  const measured = model.cluster?.measured;
  if (plans.length === 0) return null;
  return (
    <details>
      <summary>Why this plan</summary>
      {plans.map(({ replica, plan }) => (
        <div key={replica}>
          <p>
            {plans.length > 1 && `Replica ${replica}: `}
            {typeof plan.objective === 'string'
              ? `the best found for ${plan.objective}`
              : `the least ${plan.objective.name} found, ${rounded(plan.objective.cost)}`}
            {`, with a cache of ${plan.cacheType}. Predicted: ${rounded(plan.predicted.tokensPerSecond)} tokens/s of ${plural(plan.concurrency, 'answer')} at once; ${durationWords(plan.predicted.latencyMicros / 1000)} for a token of one alone.`}
          </p>
          <ul class="reasons">
            {plan.reasons.map(({ workerId, isUsed, reason }) => (
              <li key={workerId}>
                <Pill tone={isUsed ? 'good' : 'quiet'}>{isUsed ? 'in' : 'out'}</Pill>{' '}
                <b>{names.get(workerId) ?? workerId}</b> {reason}
              </li>
            ))}
          </ul>
        </div>
      ))}
      {measured && (
        <p>
          {`Measured over the last ${durationWords(measured.windowMs)}: ${rounded(measured.tokensPerSecond)} tokens/s of ${rounded(measured.concurrency)} answers at once, ${durationWords(measured.microsPerToken / 1000)} from one token of an answer to its next.`}
        </p>
      )}
    </details>
  );
}
