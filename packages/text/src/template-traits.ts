/** What a template does with what not every template knows, found by rendering samples. */
export interface TemplateTraits {
  /** Whether tools, calls and results are the template's business, or are told to the model in words of ours. */
  readonly tools: 'native' | 'described';
  /** The form of a call's arguments that it writes as JSON. */
  readonly argumentsAs: 'object' | 'text';
  readonly callIds: CallIds;
  /** Whether a message may have several calls; where not, each gets a message of its own, before its result. */
  readonly hasManyCalls: boolean;
  /** Under which name a message's reasoning reaches the model. */
  readonly reasoningKey: ReasoningKey;
  /** Whether a message that calls may have reasoning and content at once. */
  readonly hasReasoningBesideContent: boolean;
}

/** What ids of calls must be: anything, nine letters and digits as Mistral's, or with the name of the tool as Kimi's. */
export type CallIds = 'any' | 'short' | 'named';

export type ReasoningKey = 'reasoning_content' | 'reasoning' | 'thinking';

/** Of a template that was not tried, and of most that know no tools. */
export const plainTraits: TemplateTraits = Object.freeze({
  tools: 'described',
  argumentsAs: 'object',
  callIds: 'any',
  hasManyCalls: true,
  reasoningKey: 'reasoning_content',
  hasReasoningBesideContent: true,
});
