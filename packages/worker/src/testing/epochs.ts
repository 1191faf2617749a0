import { part } from '@butterfly/stage/testing';
import {
  type ControlMessageOf,
  type Step,
  decodeStepResult,
  encodeStep,
  greedySampling,
} from '@butterfly/wire';
import type { Member } from './scripted-orchestrator.js';

/** A stage of its own, unless told otherwise. */
export const assignOf = (
  epoch: number,
  shardId: string,
  change: Partial<ControlMessageOf<'assign'>> = {},
): ControlMessageOf<'assign'> => ({
  kind: 'assign',
  epoch,
  shardId,
  stageIndex: 0,
  stageCount: 1,
  next: null,
  isRelayed: false,
  linkToken: 'secret',
  ...change,
});

/** One token of one sequence. */
export const stepOf = (epoch: number, change: Partial<Step> = {}): Step => ({
  epoch,
  stepId: 1,
  copies: [],
  sequences: [part({ sampling: greedySampling })],
  stageTimes: [],
  payload: new Uint8Array(Int32Array.of(5).buffer),
  ...change,
});

/** What the whole model samples, in a stage that is ready. */
export async function sampledBy(member: Member, epoch: number, stepId = 1): Promise<number | undefined> {
  member.channel.send(encodeStep(stepOf(epoch, { stepId })));
  const { outputs } = decodeStepResult(await member.frame('result'));
  return outputs[0]?.tokens[0];
}
