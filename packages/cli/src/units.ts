const byteUnits = ['B', 'KB', 'MB', 'GB', 'TB'] as const;

/** A number of bytes for people, in binary units: `1.5 GB`. */
export function formatBytes(count: number): string {
  const power = count < 1 ? 0 : Math.min(byteUnits.length - 1, Math.floor(Math.log2(count) / 10));
  return `${(count / 2 ** (10 * power)).toFixed(power === 0 ? 0 : 1)} ${byteUnits[power] ?? ''}`;
}

/** A time for people, from microseconds to seconds: `0.31 ms`. */
export function formatMicros(micros: number): string {
  if (micros >= 10e6) return `${(micros / 1e6).toFixed(1)} s`;
  if (micros >= 10e3) return `${(micros / 1e3).toFixed(1)} ms`;
  return `${(micros / 1e3).toFixed(2)} ms`;
}

/** Rows of cells with aligned columns, one line each; the first row may be the heads. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
