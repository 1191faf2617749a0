/** Bytes as people read them. */
export function inGiB(bytes: number): string {
  const mebibytes = bytes / 2 ** 20;
  return mebibytes < 1024 ? `${mebibytes.toFixed(1)} MiB` : `${(mebibytes / 1024).toFixed(2)} GiB`;
}

/** A time with three digits or so. */
export function inMs(micros: number): string {
  const ms = micros / 1000;
  return `${ms.toFixed(ms < 10 ? 2 : ms < 1000 ? 1 : 0)} ms`;
}

/** A rate with three digits or so. */
export function inTokens(tokensPerSecond: number): string {
  return `${tokensPerSecond.toFixed(tokensPerSecond < 10 ? 2 : tokensPerSecond < 1000 ? 1 : 0)} tokens/s`;
}

/** A range of layers as people count them: the last one belongs to it. */
export function layersInWords(layerStart: number, layerEnd: number): string {
  return layerEnd === layerStart + 1 ? `layer ${layerStart}` : `layers ${layerStart} to ${layerEnd - 1}`;
}
