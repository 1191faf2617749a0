import { parentPort, workerData } from 'node:worker_threads';
import { toButterflyError } from '@butterfly/common';
import { ChatRenderer } from '../chat-renderer.js';
import type { FromRenderingThread, RenderingOptions, ToRenderingThread } from './rendering-messages.js';

/** The thread that renders conversations, one after the other. */
const { source, specialTokens } = workerData as RenderingOptions;
const renderer = new ChatRenderer(source, specialTokens);

function rendered({ messages, options }: ToRenderingThread): FromRenderingThread {
  try {
    const { value, client } = renderer.chatText(messages, options);
    return { kind: 'rendered', value, client };
  } catch (thrown) {
    const { code, message, param } = toButterflyError(thrown);
    return { kind: 'refused', code, message, param };
  }
}

parentPort?.on('message', (asked: ToRenderingThread) => parentPort?.postMessage(rendered(asked)));
