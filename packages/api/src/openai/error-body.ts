import type { ButterflyError } from '@butterfly/common';

/** OpenAI's error shape. */
export function errorBody(error: ButterflyError): object {
  return {
    error: {
      message: error.message,
      type: error.kind.openaiType,
      param: error.param ?? null,
      code: error.kind.apiCode ?? error.code,
    },
  };
}
