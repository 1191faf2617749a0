/** What valgrind found, by whose code it happened in. */
export interface MemcheckReport {
  /** In libllama, ggml, or what we call them through, and not explained. */
  readonly findings: readonly string[];
  /** Of the runtime's own code, which we do not drive. */
  readonly elsewhere: number;
  /** Stacks that koffi changes to in order to call, which valgrind takes for one that is read below its end. */
  readonly stackChanges: number;
}

const block =
  /^==\d+== (?:Invalid|Conditional|Use of|Syscall param|Mismatched|Source and destination|\d[\d,]* .*definitely lost)/u;

/** @param log what valgrind wrote, with lost blocks */
export function reportOf(log: string): MemcheckReport {
  const findings: string[] = [];
  let [elsewhere, stackChanges] = [0, 0];
  for (const text of blocksOf(log)) {
    if (!/libllama|libggml|koffi/u.test(text)) elsewhere += 1;
    else if (!/libllama|libggml/u.test(text) && text.includes("on thread 1's stack")) stackChanges += 1;
    else findings.push(text);
  }
  return { findings, elsewhere, stackChanges };
}

/** Each error with its stack. */
function* blocksOf(log: string): Generator<string> {
  let lines: string[] = [];
  for (const line of log.split('\n')) {
    const isEnd = /^==\d+==\s*$/u.test(line);
    if (lines.length > 0 && isEnd) {
      yield lines.join('\n');
      lines = [];
    } else if (lines.length > 0 || block.test(line)) lines.push(line);
  }
  if (lines.length > 0) yield lines.join('\n');
}
