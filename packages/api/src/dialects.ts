/** The second door of this package: what reads bodies, for those who try it without a server. */
export { parseCountRequest, parseMessagesRequest } from './anthropic/parse.js';
export { halfCharacterIn, textOfBody } from './http/json-body.js';
export { parseChat, parseGenerate } from './ollama/parse.js';
export { parseChatRequest, parseTextRequest } from './openai/parse.js';
export { parseResponseRequest } from './responses/parse.js';
export { Responses } from './responses/memory.js';
