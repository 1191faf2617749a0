import type Anthropic from '@anthropic-ai/sdk';
import type {
  ChatResponse,
  EmbedResponse,
  EmbeddingsResponse,
  ErrorResponse,
  GenerateResponse,
  ListResponse,
  ShowResponse,
  VersionResponse,
} from 'ollama';
import type OpenAI from 'openai';

/** All that this API sends in OpenAI's form, by the types of its official package. */
export interface OpenAIObjects {
  chat: OpenAI.Chat.ChatCompletion;
  chatChunk: OpenAI.Chat.ChatCompletionChunk;
  completion: OpenAI.Completion;
  model: OpenAI.Model;
  response: OpenAI.Responses.Response;
  responseEvent: OpenAI.Responses.ResponseStreamEvent;
  responseItemList: OpenAI.Responses.ResponseItemList;
}

/** The same in Anthropic's form. */
export interface AnthropicObjects {
  message: Anthropic.Message;
  messageEvent: Anthropic.RawMessageStreamEvent;
  tokensCount: Anthropic.MessageTokensCount;
  anthropicError: Anthropic.ErrorResponse;
}

// Only exported names become definitions of their own, to which exceptions can be made.
export type OllamaChat = ChatResponse;
export type OllamaText = GenerateResponse;
export type OllamaModels = ListResponse;
export type OllamaModel = ShowResponse;
export type OllamaVersion = VersionResponse;
export type OllamaVectors = EmbedResponse;
export type OllamaVector = EmbeddingsResponse;
export type OllamaFault = ErrorResponse;

/** The same in Ollama's form. */
export interface OllamaObjects {
  ollamaChat: OllamaChat;
  ollamaText: OllamaText;
  ollamaModels: OllamaModels;
  ollamaModel: OllamaModel;
  ollamaVersion: OllamaVersion;
  ollamaVectors: OllamaVectors;
  ollamaVector: OllamaVector;
  ollamaError: OllamaFault;
}
