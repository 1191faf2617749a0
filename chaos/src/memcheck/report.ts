/** What valgrind found, by whose code it happened in. */
export interface MemcheckReport {
  /** In libllama or ggml. */
  readonly findings: readonly string[];
  /** In koffi, which changes to a stack of its own in order to call, and valgrind takes that for the end of the other. */
  readonly ofCalls: number;
  /** In the runtime's own code, which we do not drive. */
  readonly elsewhere: number;
}

const block =
  /^==\d+== (?:Invalid|Conditional|Use of|Syscall param|Mismatched|Source and destination|\d[\d,]* .*definitely lost)/u;

/** @param log what valgrind wrote, with lost blocks */
export function reportOf(log: string): MemcheckReport {
  const findings: string[] = [];
  let [ofCalls, elsewhere] = [0, 0];
  for (const text of blocksOf(log)) {
    // Below the call there is nothing but what was left on the stack.
    const [inside = ''] = text.split(/koffi\.node|\/node\)/u);
    if (/libllama|libggml/u.test(inside)) findings.push(text);
    else if (text.includes('koffi.node')) ofCalls += 1;
    else elsewhere += 1;
  }
  return { findings, ofCalls, elsewhere };
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
