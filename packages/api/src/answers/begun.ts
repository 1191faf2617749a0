import { observerOfModel } from '@butterfly/common';
import { type Answering, startAnswer, type Tape } from '@butterfly/generation';
import type { Visit } from '../access/visit.js';
import type { ApiContext, ModelUse, ServedModel } from '../context.js';
import type { ParsedRequest, ResponseHead } from './dialect.js';

/** A request on its way to its answer, whose model stays loaded until it is disposed. */
export interface Begun extends Disposable {
  readonly head: ResponseHead;
  readonly answering: Answering;
}

/** What it takes to begin an answer. */
export interface Beginning {
  readonly asked: ParsedRequest;
  /** What the answer is called, and when it was asked for. */
  readonly head: Omit<ResponseHead, 'model' | 'promptTokens'>;
  /** On whose behalf, who pays for it in advance as far as its key is limited; null for what was let in and paid for before. */
  readonly visit: Visit | null;
  /** Disposed at the end of the answer, or where it does not begin. */
  readonly use: ModelUse;
  /** Where it is kept, if it is. */
  readonly tape?: Tape;
}

/** @throws ButterflyError as `startAnswer` does, and RATE_LIMITED */
export async function beginAnswer(context: ApiContext, beginning: Beginning): Promise<Begun> {
  const { asked, visit, use } = beginning;
  const { model } = use;
  const { requestId } = beginning.head;
  const startMs = context.clock.nowMs();
  const observe = observerOfModel(context.observe, model.id);
  try {
    const answering = await started(beginning, model, context);
    const { promptTokens } = answering;
    const head: ResponseHead = { ...beginning.head, model: model.id, promptTokens };
    const tenant = visit?.tenant ?? asked.spec.tenant ?? null;
    observe({ kind: 'requestBegun', requestId, tenant, isStream: asked.stream, promptTokens });
    const watched = asked.encoding.begun?.(head, () => answering.cancel());
    const ended = (): void => {
      watched?.();
      visit?.settle(answering.promptTokens + answering.outputTokens);
      use[Symbol.dispose]();
      const totalMs = Math.round(context.clock.nowMs() - startMs);
      const { outputTokens } = answering;
      observe({
        kind: 'requestEnded',
        requestId,
        completionId: head.id,
        totalMs,
        promptTokens,
        outputTokens,
      });
    };
    return { head, answering, [Symbol.dispose]: ended };
  } catch (error) {
    use[Symbol.dispose]();
    throw error;
  }
}

async function started(
  { visit, asked, head, tape }: Beginning,
  model: ServedModel,
  { clock }: ApiContext,
): Promise<Answering> {
  const { requestId } = head;
  const onBehalf =
    visit === null
      ? asked.spec
      : { ...asked.spec, tenant: visit.tenant, priority: visit.priorityOf(asked.spec.priority) };
  try {
    return await startAnswer(model, { ...onBehalf, requestId }, clock, {
      ...(visit === null
        ? {}
        : { charge: (tokens: number, answers: number): void => visit.charge(tokens, answers) }),
      ...(tape === undefined ? {} : { tape }),
    });
  } catch (error) {
    visit?.settle(0);
    throw error;
  }
}
