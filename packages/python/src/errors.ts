/**
 * What went wrong with a template: it is not one (`syntax`), it needs what is not built here (`unsupported`), it fails as
 * it would under Python (`runtime`), or it refuses the conversation itself by `raise_exception` (`raised`).
 */
type TemplateFailureKind = 'syntax' | 'unsupported' | 'runtime' | 'raised';

export class TemplateFailure extends Error {
  override readonly name = 'TemplateFailure';

  constructor(
    readonly kind: TemplateFailureKind,
    message: string,
  ) {
    super(message);
  }
}

export const syntaxFailure = (line: number, message: string): TemplateFailure =>
  new TemplateFailure('syntax', `line ${line}: ${message}`);
export const unsupported = (construct: string): TemplateFailure =>
  new TemplateFailure('unsupported', `${construct} is not supported`);
/** As Python names it: `TypeError: …`. */
export const failure = (message: string): TemplateFailure => new TemplateFailure('runtime', message);
