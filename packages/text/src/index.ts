export { ChatTemplate } from './chat-template.js';
export type { ChatMessage, ChatOptions, ChatTool, ChatToolCall } from './chat-message.js';
export { dryBreakers } from './dry-breakers.js';
export { IncrementalDetokenizer, StopMatcher } from './detokenizer.js';
export { PromptMaker } from './prompt.js';
export type { PromptText } from './prompt.js';
export { tokenPieces } from './token-pieces.js';
export type { TokenPieces } from './token-pieces.js';
