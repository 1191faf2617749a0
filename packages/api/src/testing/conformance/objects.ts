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
