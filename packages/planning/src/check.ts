import { ButterflyError, formatBytes } from '@butterfly/common';
import { checkObjective } from './own-cost.js';
import { offeredBytes } from './stage-memory.js';
import type { Plan, PlannerInput, PlannerWorker } from './types.js';

/** @throws ButterflyError CONFIG_INVALID for an input that makes no sense. */
export function checkInput(input: PlannerInput): void {
  const { model, workers, concurrency, stagesMin = 1, spares = 0 } = input;
  checkObjective(input.objective);
  const { layerBytes, inputBytes, outputBytes, kvBytesPerSlot, arenaSlots, overheadBytes } = model;
  const sizes = { inputBytes, outputBytes, arenaSlots, overheadBytes };
  check(layerBytes.length, 'number of layers', 1);
  check(kvBytesPerSlot.length, 'number of layers with kvBytesPerSlot', layerBytes.length);
  check(model.layerKinds.length, 'number of layers with layerKinds', layerBytes.length);
  const kinds = model.layerKinds.reduce((most, kind) => Math.max(most, kind + 1), 1);
  for (const [param, value] of Object.entries(sizes)) check(value, param, 0);
  for (const bytes of layerBytes) check(bytes, 'layerBytes', 0);
  for (const bytes of kvBytesPerSlot) check(bytes, 'kvBytesPerSlot', 0);
  check(model.activationBytes, 'activationBytes', 0);
  check(concurrency, 'concurrency', 1);
  check(stagesMin, 'stagesMin', 1);
  check(spares, 'spares', 0);
  const ids = new Set<string>();
  for (const worker of workers) {
    const { workerId, memoryBytes, layerCurve, curvesByKind, outputCurve } = worker;
    if (ids.has(workerId)) throw invalid('workers', `There are two workers with the id ${workerId}.`);
    ids.add(workerId);
    check(memoryBytes, `memoryBytes of ${workerId}`, 0);
    check(curvesByKind.length, `number of kinds of layers of ${workerId}`, kinds);
    checkHost(worker, kinds);
    for (const curve of [layerCurve, ...curvesByKind])
      check(curve.length, `number of points in layerCurve of ${workerId}`, 1);
    for (const { rows, micros } of [...layerCurve, ...curvesByKind.flat(), ...outputCurve]) {
      check(rows, `rows of a curve of ${workerId}`, 1);
      check(micros, `micros of a curve of ${workerId}`, 0);
    }
  }
}

function checkHost({ workerId, host }: PlannerWorker, kinds: number): void {
  if (!host) return;
  check(host.memoryBytes, `memoryBytes of the host of ${workerId}`, 0);
  check(host.curvesByKind.length, `number of kinds of layers of the host of ${workerId}`, kinds);
  for (const curve of host.curvesByKind)
    check(curve.length, `number of points in a curve of the host of ${workerId}`, 1);
  for (const { rows, micros } of host.curvesByKind.flat()) {
    check(rows, `rows of a curve of the host of ${workerId}`, 1);
    check(micros, `micros of a curve of the host of ${workerId}`, 0);
  }
}

function check(value: number, param: string, min: number): void {
  if (Number.isFinite(value) && value >= min) return;
  throw invalid(param, `${param} must be a number of at least ${min}, not ${value}.`);
}

function invalid(param: string, message: string): ButterflyError {
  return new ButterflyError('CONFIG_INVALID', message, { param });
}

/**
 * Checks that the stages cover all layers exactly once, in order, that none begins with a layer that stays with the one
 * before it, that no worker comes twice, that the reasons tell of every stage, and that the predictions are numbers.
 * @throws ButterflyError INTERNAL
 */
export function assertPlan(plan: Plan, layers: number, joinedLayers?: ReadonlySet<number>): void {
  let end = 0;
  for (const { workerId, layerStart, layerEnd } of plan.stages) {
    if (layerStart !== end || layerEnd <= layerStart || !Number.isSafeInteger(layerEnd))
      throw broken(`${workerId} has layers ${layerStart} to ${layerEnd} where ${end} is next`);
    if (joinedLayers?.has(layerStart))
      throw broken(`${workerId} begins with layer ${layerStart}, which stays with the one before it`);
    end = layerEnd;
  }
  if (end !== layers) throw broken(`it covers ${end} of ${layers} layers`);
  const used = new Set(plan.stages.map(({ workerId }) => workerId));
  if (used.size !== plan.stages.length) throw broken('a worker has two stages');
  const told = new Set(plan.reasons.map(({ workerId }) => workerId));
  if (told.size !== plan.reasons.length) throw broken('it has two reasons for one worker');
  const isTold = plan.reasons.every(({ workerId, isUsed }) => isUsed === used.has(workerId));
  if (!isTold || ![...used].every((id) => told.has(id))) throw broken('its reasons contradict its stages');
  const { latencyMicros, tokensPerSecond } = plan.predicted;
  if (!(latencyMicros >= 0 && tokensPerSecond > 0)) throw broken('it predicts nothing');
}

function broken(what: string): ButterflyError {
  return new ButterflyError('INTERNAL', `The plan is broken: ${what}. This is a defect, please report it.`);
}

/** Says how much is missing and what to do. */
export function tooLarge({ model, workers }: PlannerInput): ButterflyError {
  const { joinedLayers } = model;
  const layers = model.layerBytes.length;
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const weightBytes = sum(model.layerBytes) + model.inputBytes + model.outputBytes;
  const kvBytes = sum(model.kvBytesPerSlot) * model.arenaSlots;
  const count = workers.length;
  const together = joinedLayers && joinedLayers.size > 0 ? ', some of which cannot be parted,' : '';
  const overheadBytes = model.overheadBytes * Math.max(1, Math.min(count, layers));
  const neededBytes = weightBytes + kvBytes + overheadBytes;
  const availableBytes = sum(workers.map(offeredBytes));
  const why =
    neededBytes > availableBytes
      ? ''
      : `, but whole layers in a row${together || ','} with the embedding on the first worker and the head on the last, do not fit`;
  return new ButterflyError(
    'MODEL_TOO_LARGE',
    `The model needs ${formatBytes(neededBytes)} (weights ${formatBytes(weightBytes)}, KV cache ${formatBytes(kvBytes)}, buffers ` +
      `${formatBytes(overheadBytes)}) and ${count} ${count === 1 ? 'worker offers' : 'workers offer'} ` +
      `${formatBytes(availableBytes)}${why}. Lower --ctx, add workers or memory, or use a smaller quantisation.`,
  );
}
