import { createHash, randomUUID } from 'node:crypto';

const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
const idLetters = 24;

/**
 * Ids as OpenAI's, `call_` and 24 letters and digits: the same for the same request, so that an answer which goes on elsewhere has those
 * that were told.
 * @param requestId of whoever asked; absent for nobody in particular
 */
export function callIds(requestId: string | undefined, choice: number): () => string {
  const secret = requestId ?? randomUUID();
  let count = 0;
  return () => {
    const bytes = createHash('sha256').update(`${secret}/call/${choice}/${count++}`).digest();
    const shown = Array.from(bytes.subarray(0, idLetters), (byte) => letters.charAt(byte % letters.length));
    return `call_${shown.join('')}`;
  };
}
