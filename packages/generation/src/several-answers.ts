import type { Answering, OutputSink } from './answering.js';
import type { AnswerTiming, OutputEvent, Usage } from './events.js';

type Ending = Extract<OutputEvent, { readonly kind: 'usage' }>;

/** The answers to several inputs, as if they were one: choices are counted through, and usage is summed up. */
export class SeveralAnswers implements Answering {
  constructor(
    private readonly parts: readonly Answering[],
    private readonly choicesEach: number,
  ) {}

  get promptTokens(): number {
    return this.parts.reduce((sum, { promptTokens }) => sum + promptTokens, 0);
  }

  get outputTokens(): number {
    return this.parts.reduce((sum, { outputTokens }) => sum + outputTokens, 0);
  }

  /** Who fails first ends the others. */
  async run(sink: OutputSink): Promise<void> {
    const endings: Ending[] = [];
    const failures: unknown[] = [];
    const runs = this.parts.map((part, index) =>
      part
        .run((event) => {
          if (event.kind === 'usage') endings.push(event);
          else sink({ ...event, choice: event.choice + index * this.choicesEach });
        })
        .catch((error: unknown) => {
          failures.push(error);
          this.cancel();
        }),
    );
    await Promise.all(runs);
    if (failures.length > 0) throw failures[0];
    sink({ kind: 'usage', usage: sumOf(endings), timing: longest(endings) });
  }

  cancel(): void {
    for (const part of this.parts) part.cancel();
  }
}

function sumOf(endings: readonly Ending[]): Usage {
  const sum = (of: (usage: Usage) => number): number =>
    endings.reduce((total, { usage }) => total + of(usage), 0);
  const isCachedKnown = endings.every(({ usage }) => usage.cachedPromptTokens !== null);
  return {
    promptTokens: sum((usage) => usage.promptTokens),
    outputTokens: sum((usage) => usage.outputTokens),
    reasoningTokens: sum((usage) => usage.reasoningTokens ?? 0),
    cachedPromptTokens: isCachedKnown ? sum((usage) => usage.cachedPromptTokens ?? 0) : null,
  };
}

function longest(endings: readonly Ending[]): AnswerTiming {
  const queued = endings.flatMap(({ timing }) => timing.queuedMs ?? []);
  return {
    queuedMs: queued.length < endings.length ? null : Math.min(...queued),
    firstTokenMs: Math.min(...endings.map(({ timing }) => timing.firstTokenMs)),
    totalMs: Math.max(...endings.map(({ timing }) => timing.totalMs)),
  };
}
