import type { Target } from '../controller-types.js';
import { Members, type Member } from '../members.js';
import { targetOf } from '../target.js';
import { planOf, shardIdOf } from './controller.js';

export const targetOn = (...workerIds: string[]): Target => targetOf(planOf(workerIds), shardIdOf);

export function membersOf(...members: Member[]): Members {
  const all = new Members();
  for (const member of members) all.add(member);
  return all;
}
