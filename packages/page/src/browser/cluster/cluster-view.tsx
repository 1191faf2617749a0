import type { ClusterGlance } from '@butterfly/telemetry';
import { useState } from 'preact/hooks';
import { Figure, Panel } from '../parts/ui.js';
import { countWords, durationWords, plural, rounded } from '../parts/format.js';
import { usePage } from '../parts/page-context.js';
import { ratesOf } from '../state/live-state.js';
import { Apart } from './apart.js';
import { EventList } from './event-list.js';
import { ModelPanel } from './model-panel.js';

/** What the cluster is and does. */
export function ClusterView() {
  const { live } = usePage();
  // Pulses draw it anew often enough.
  const nowMs = Date.now() + live.skewMs;
  const { cluster } = live;
  if (cluster === null) return <p class="quiet">Nothing is known of the cluster yet.</p>;
  return (
    <>
      <Summary cluster={cluster} nowMs={nowMs} />
      <Models cluster={cluster} />
      <Apart cluster={cluster} events={live.events} nowMs={nowMs} />
      <EventList events={live.events} nowMs={nowMs} />
    </>
  );
}

function Summary({ cluster, nowMs }: { readonly cluster: ClusterGlance; readonly nowMs: number }) {
  const { live } = usePage();
  const rates = ratesOf(live.pulses, null);
  return (
    <dl class="figures" aria-label="Now">
      <Figure
        label="Tokens per second"
        value={rounded(rates.tokensPerSecond)}
        hint="Of all answers, over the last two seconds"
      />
      <Figure label="Running" value={countWords(rates.running)} />
      <Figure label="Queued" value={countWords(rates.queued)} />
      <Figure label="Steps per second" value={rounded(rates.stepsPerSecond)} />
      <Figure
        label="Rows per step"
        value={rounded(rates.rowsPerStep)}
        hint="How many tokens a step computes at once"
      />
      <Figure label="Workers" value={countWords(cluster.workers.length)} />
      <Figure
        label="Up for"
        value={durationWords(nowMs - cluster.startedMs)}
        hint={`Butterfly ${cluster.version}`}
      />
    </dl>
  );
}

/** All of them where they are few, else the one that is chosen. */
function Models({ cluster }: { readonly cluster: ClusterGlance }) {
  const { models } = cluster;
  const [chosen, choose] = useState<string | null>(null);
  const isMany = models.length > 4;
  const shown = isMany
    ? models.filter(({ id }, index) => (chosen === null ? index === 0 : id === chosen))
    : models;
  if (models.length === 0)
    return (
      <Panel title="Models">
        <p>{cluster.detail}</p>
      </Panel>
    );
  return (
    <>
      {isMany && (
        <p>
          <label>
            {plural(models.length, 'model')}:{' '}
            <select onChange={({ currentTarget }) => choose(currentTarget.value)}>
              {models.map(({ id, state }) => (
                <option key={id} value={id}>
                  {id} ({state})
                </option>
              ))}
            </select>
          </label>
        </p>
      )}
      {shown.map((model) => (
        <ModelPanel key={model.id} cluster={cluster} model={model} />
      ))}
    </>
  );
}
