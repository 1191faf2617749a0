import type { ButterflyError } from '@butterfly/common';

/** Ollama's error shape: its clients print what they find under `error`. */
export const ollamaErrorBody = ({ message }: ButterflyError): object => ({ error: message });
