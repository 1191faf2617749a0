import { X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type Server } from 'node:tls';
import { ButterflyError, type Clock, deadlines, limits, type Observer } from '@butterfly/common';

/** Paths of PEM files: a certificate with those between it and its authority, and its key. */
export interface CertificateFiles {
  readonly certificate: string;
  readonly privateKey: string;
}

/** PEM texts. */
export interface SecureTexts {
  readonly cert: string;
  readonly key: string;
}

/** A certificate that others made, as its files have it, also after they are replaced. */
export class ServedCertificate {
  private constructor(
    private readonly files: CertificateFiles,
    readonly texts: SecureTexts,
    private seen: string,
  ) {}

  /** @throws ButterflyError CONFIG_INVALID for files that cannot be read, or are no certificate with its key */
  static async open(files: CertificateFiles): Promise<ServedCertificate> {
    try {
      const seen = await looksOf(files);
      return new ServedCertificate(files, await readTexts(files), seen);
    } catch (cause) {
      throw new ButterflyError(
        'CONFIG_INVALID',
        `The certificate of the API cannot be used: ${wordsOf(cause)}. Give PEM files of a certificate and its key with --tls-cert and --tls-key.`,
        { cause, param: 'tls-cert' },
      );
    }
  }

  /** When it ends as it was opened, in milliseconds since 1970. */
  get endsMs(): number {
    return Date.parse(new X509Certificate(this.texts.cert).validTo);
  }

  /**
   * Has new connections of the server see what the files become, within a second; those that cannot be used, as while one of
   * the two is new, change nothing.
   * @returns what ends that
   */
  follow(server: Server, clock: Clock, observe: Observer): () => void {
    let isFollowed = true;
    let cancel: () => void = () => undefined;
    const look = async (): Promise<void> => {
      await this.#refresh(server, observe);
      if (isFollowed) wait();
    };
    const wait = (): void => {
      cancel = clock.after(deadlines.filesLookedAtEveryMs, () => void look());
    };
    wait();
    return () => {
      isFollowed = false;
      cancel();
    };
  }

  async #refresh(server: Server, observe: Observer): Promise<void> {
    const { seen } = this;
    try {
      const looks = await looksOf(this.files);
      if (looks === seen) return;
      this.seen = looks;
      const { cert, key } = await readTexts(this.files);
      server.setSecureContext({ cert, key });
      observe({ kind: 'certificateReplaced', expiresAt: new X509Certificate(cert).validTo });
    } catch (error) {
      const reason = wordsOf(error);
      // Files that are gone look like nothing: that is told once too.
      if (this.seen === seen && seen === reason) return;
      if (this.seen === seen) this.seen = reason;
      observe({ kind: 'certificateUnusable', reason });
    }
  }
}

/** By which it is told that one of them changed. */
async function looksOf({ certificate, privateKey }: CertificateFiles): Promise<string> {
  const [one, other] = [await stat(certificate), await stat(privateKey)];
  return [one, other].map(({ mtimeMs, size, ino }) => `${mtimeMs}/${size}/${ino}`).join(' ');
}

/** @throws Error of the system, or of OpenSSL for a key of another certificate */
async function readTexts({ certificate, privateKey }: CertificateFiles): Promise<SecureTexts> {
  const [cert, key] = [await readPem(certificate), await readPem(privateKey)];
  createSecureContext({ cert, key });
  return { cert, key };
}

async function readPem(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size > limits.pemFileBytesMax) throw new Error(`${path} is too large for a certificate or key`);
  return readFile(path, 'utf8');
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
