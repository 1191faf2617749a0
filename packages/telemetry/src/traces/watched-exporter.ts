import { ExportResultCode, type ExportResult } from '@opentelemetry/core';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';

/** Hears how sending goes. */
export interface SendingListener {
  /** The first that is not taken after some that were, or of all. */
  failing(error: Error): void;
  /** Some are taken again, after so many were lost. */
  takenAgain(lostSpans: number): void;
}

/** An exporter of which is told once that it fails, and once that it does no more. */
export class WatchedExporter implements SpanExporter {
  #lostSpans = 0;

  constructor(
    private readonly exporter: SpanExporter,
    private readonly listener: SendingListener,
  ) {}

  export(spans: ReadableSpan[], onResult: (result: ExportResult) => void): void {
    this.exporter.export(spans, (result) => {
      if (result.code === ExportResultCode.SUCCESS) this.#taken();
      else this.#lost(spans.length, result.error ?? new Error('The collector did not say why.'));
      onResult(result);
    });
  }

  shutdown(): Promise<void> {
    return this.exporter.shutdown();
  }

  async forceFlush(): Promise<void> {
    await this.exporter.forceFlush?.();
  }

  #taken(): void {
    const lost = this.#lostSpans;
    this.#lostSpans = 0;
    if (lost > 0) this.listener.takenAgain(lost);
  }

  #lost(spans: number, error: Error): void {
    const isFirst = this.#lostSpans === 0;
    this.#lostSpans += spans;
    if (isFirst) this.listener.failing(error);
  }
}
