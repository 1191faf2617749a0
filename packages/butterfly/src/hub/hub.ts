import { ButterflyError, deadlines, toButterflyError } from '@butterfly/common';
import { fileDownloadInfo, HubApiError, InvalidApiResponseFormatError, listFiles } from '@huggingface/hub';
import { z } from 'zod';
import type { RemoteFile } from '../download/download.js';

export interface HubOptions {
  /** Such as `https://huggingface.co`, without a slash at its end. */
  readonly url: string;
  /** For private and gated repositories; null for none. */
  readonly token: string | null;
}

/** More files than any repository of models has. */
const filesMax = 20_000;

const entrySchema = z.object({
  type: z.string(),
  path: z.string(),
  size: z.int().min(0),
  oid: z.string().regex(/^[0-9a-f]{40}$/),
  lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().min(0) }).optional(),
});

/** A hub of models that speaks the API of Hugging Face's. */
export class Hub {
  constructor(private readonly options: HubOptions) {}

  /** The files of a repository. @throws ButterflyError NOT_FOUND, ACCESS_DENIED, PEER_UNREACHABLE, PROTOCOL_INVALID, TIMEOUT */
  async files(repo: string, signal: AbortSignal): Promise<RemoteFile[]> {
    const files: RemoteFile[] = [];
    try {
      const entries = listFiles({ ...this.#request(repo, signal), recursive: true });
      for await (const listed of entries) {
        if (listed.type !== 'file') continue;
        const { path, size, oid, lfs } = entrySchema.parse(listed);
        files.push({
          path,
          bytes: lfs?.size ?? size,
          checksum: lfs ? { kind: 'sha256', hex: lfs.oid } : { kind: 'git', hex: oid },
        });
        if (files.length > filesMax)
          throw new ButterflyError(
            'REQUEST_UNSUPPORTED',
            `${repo} has more than ${filesMax} files; pull another.`,
          );
      }
    } catch (thrown) {
      throw this.#explain(thrown, repo);
    }
    return files;
  }

  /**
   * The content of a file from an offset on.
   * @throws ButterflyError as `files`
   */
  async open(
    repo: string,
    file: RemoteFile,
    offset: number,
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>> {
    try {
      const url = await this.#locate(repo, file, signal);
      // The blobs of the library say neither why they broke off nor whether the server knows ranges.
      const response = await this.#fetch(signal)(url, { headers: { range: `bytes=${offset}-` } });
      if (!response.ok) throw new HubApiError(this.options.url, response.status);
      const start = response.status === 206 ? rangeStart(response.headers.get('content-range')) : 0;
      if (start !== offset || !response.body) {
        await response.body?.cancel();
        throw new ButterflyError(
          'PROTOCOL_INVALID',
          `${this.options.url} does not send parts of files, which resuming needs; use another hub.`,
        );
      }
      return response.body;
    } catch (thrown) {
      throw this.#explain(thrown, `${repo}:${file.path}`);
    }
  }

  /** What went wrong on the way of a body, in words. */
  explainCut(thrown: unknown): ButterflyError {
    return this.#explain(thrown, 'the file');
  }

  async #locate(repo: string, file: RemoteFile, signal: AbortSignal): Promise<string> {
    const responses: Response[] = [];
    const request = this.#request(repo, signal);
    const info = await fileDownloadInfo({
      ...request,
      path: file.path.split('/').map(encodeURIComponent).join('/'),
      fetch: async (url, init) => {
        const response = await request.fetch(url, init);
        responses.push(response);
        return response;
      },
    }).finally(() => Promise.all(responses.map(discard)));
    if (!info)
      throw new ButterflyError('NOT_FOUND', `${repo} has no file ${file.path} any more; list it again.`);
    if (info.size !== file.bytes)
      throw new ButterflyError(
        'MODEL_CORRUPT',
        `${file.path} has ${info.size} bytes instead of ${file.bytes}: it was just replaced; run the same again.`,
      );
    return info.url;
  }

  #request(repo: string, signal: AbortSignal) {
    return {
      repo: { type: 'model' as const, name: repo },
      hubUrl: this.options.url,
      fetch: this.#fetch(signal),
    };
  }

  /** Shows the token to the hub alone: files and further pages may lie elsewhere. */
  #fetch(signal: AbortSignal): typeof fetch {
    const { url: hubUrl, token } = this.options;
    return async (input, init) => {
      const url = new URL(input instanceof Request ? input.url : input);
      const headers = new Headers(init?.headers);
      if (token !== null && url.origin === new URL(hubUrl).origin)
        headers.set('authorization', `Bearer ${token}`);
      const answered = new AbortController();
      const timer = setTimeout(
        () => answered.abort(new ButterflyError('TIMEOUT', `${hubUrl} does not answer; try again later.`)),
        deadlines.fetchMs,
      );
      try {
        return await fetch(url, { ...init, headers, signal: AbortSignal.any([signal, answered.signal]) });
      } finally {
        clearTimeout(timer);
      }
    };
  }

  #explain(thrown: unknown, what: string): ButterflyError {
    const { url, token } = this.options;
    if (thrown instanceof ButterflyError) return thrown;
    if (thrown instanceof HubApiError) return explainStatus(thrown.statusCode, url, what, token !== null);
    if (
      thrown instanceof InvalidApiResponseFormatError ||
      thrown instanceof SyntaxError ||
      thrown instanceof z.ZodError
    )
      return new ButterflyError(
        'PROTOCOL_INVALID',
        `${url} does not answer as a hub of models does; check --hub-url.`,
        { cause: thrown },
      );
    // What fetch throws, whether for a connection that never was or for one that ended.
    if (thrown instanceof TypeError && thrown.cause instanceof Error) {
      const reason = causeCode(thrown);
      return thrown.message === 'terminated' || reason === 'UND_ERR_SOCKET' || reason === 'ECONNRESET'
        ? new ButterflyError('CONNECTION_CLOSED', `The connection to ${url} was cut.`, { cause: thrown })
        : new ButterflyError(
            'PEER_UNREACHABLE',
            `${url} cannot be reached (${reason}); check the network and --hub-url.`,
            {
              cause: thrown,
            },
          );
    }
    return toButterflyError(thrown);
  }
}

/** Frees the connection of an answer whose body nobody reads. */
async function discard({ body, bodyUsed }: Response): Promise<void> {
  if (!bodyUsed) await body?.cancel();
}

function explainStatus(status: number, url: string, what: string, hasToken: boolean): ButterflyError {
  switch (status) {
    case 401:
    case 403:
      return new ButterflyError(
        'ACCESS_DENIED',
        hasToken
          ? `${url} refuses ${what} (${status}): HF_TOKEN holds a token that may not read it, or there is no such repository; accept its licence on its page or use another token.`
          : `${url} refuses ${what} (${status}): it is private or gated, or there is no such repository; set HF_TOKEN to a token that may read it.`,
      );
    case 404:
      return new ButterflyError('NOT_FOUND', `${url} has no ${what}; check the name.`);
    case 429:
      return new ButterflyError('PEER_UNREACHABLE', `${url} asks for fewer requests (429); try again later.`);
    default:
      return new ButterflyError('PEER_UNREACHABLE', `${url} failed with status ${status}; try again later.`);
  }
}

/** Undici hides the reason in causes. */
function causeCode(error: Error): string {
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : causeCode(cause);
}

function rangeStart(contentRange: string | null): number {
  return Number(/^bytes (\d+)-/.exec(contentRange ?? '')?.[1] ?? Number.NaN);
}
