import { Chart } from '../parts/chart.js';
import { pathOf, placesOf } from '../parts/chart-shape.js';
import { countWords, durationWords, rounded, shareWords } from '../parts/format.js';
import { usePage } from '../parts/page-context.js';
import { kept } from '../parts/kept.js';
import { Bar, Panel } from '../parts/ui.js';
import type { LiveState } from '../state/live-state.js';
import { type ChartOfSeries, chartsOf, type Occupancy, occupancyOf } from './series.js';

const words: Readonly<Record<ChartOfSeries['unit'], (value: number) => string>> = {
  count: (value) => (value < 10 ? rounded(value) : countWords(value)),
  rate: rounded,
  duration: durationWords,
  share: shareWords,
};
const hourMs = 3_600_000;

/** The last hour. */
export function PerformanceView() {
  const { live } = usePage();
  return (
    <KeptHour
      buckets={live.buckets}
      workers={live.cluster?.workers ?? null}
      nowMs={Date.now() + live.skewMs}
    />
  );
}

type Workers = NonNullable<LiveState['cluster']>['workers'] | null;

function Hour(props: {
  readonly buckets: LiveState['buckets'];
  readonly workers: Workers;
  readonly nowMs: number;
}) {
  const { buckets } = props;
  const last = buckets.at(-1);
  const toMs = last ? last.atMs + last.lengthMs : props.nowMs;
  // What is shorter than an hour is drawn over the whole width, from a minute on.
  const fromMs = Math.max(toMs - hourMs, Math.min(buckets[0]?.atMs ?? toMs, toMs - 60_000));
  const shown = buckets.filter(({ atMs }) => atMs >= fromMs);
  const atMs = shown.map((bucket) => bucket.atMs + bucket.lengthMs);
  const names = new Map(props.workers?.map(({ workerId, name }) => [workerId, name]));
  return (
    <>
      <Panel title="The last hour" beside={<span class="quiet">{durationWords(toMs - fromMs)} shown</span>}>
        <div class="charts">
          {chartsOf(shown).map(({ title, unit, lines }) => (
            <Chart
              key={title}
              {...{ title, lines, atMs, fromMs, toMs }}
              words={words[unit]}
              {...(unit === 'share' ? { top: 1 } : {})}
            />
          ))}
        </div>
      </Panel>
      <Panel title="How busy the workers were">
        <Busy all={occupancyOf(shown)} names={names} places={placesOf(atMs, fromMs, toMs)} />
      </Panel>
    </>
  );
}

const KeptHour = kept(Hour, ({ buckets, workers }) => [buckets, workers]);

function Busy(props: {
  readonly all: readonly Occupancy[];
  readonly names: ReadonlyMap<string, string>;
  readonly places: readonly number[];
}) {
  if (props.all.length === 0) return <p class="quiet">Nothing was computed in this time.</p>;
  return (
    <ul class="occupancy">
      {props.all.map(({ workerId, meanShare, lastShare, shares }) => (
        <li key={workerId}>
          <span class="name" title={workerId}>
            {props.names.get(workerId) ?? workerId}
          </span>
          <svg viewBox="0 0 200 20" preserveAspectRatio="none" aria-hidden="true">
            <path class="line-0" d={pathOf(shares, props.places, { width: 200, height: 20, top: 1 })} />
          </svg>
          <Bar share={lastShare} label="last" />
          <span class="quiet">
            {shareWords(meanShare)}, of late {shareWords(lastShare)}
          </span>
        </li>
      ))}
    </ul>
  );
}
