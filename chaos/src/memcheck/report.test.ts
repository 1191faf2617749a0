import { expect, it } from 'vitest';
import { reportOf } from './report.js';

const log = `==7== Memcheck, a memory error detector
==7== Command: node
==7==
==7== Invalid read of size 8
==7==    at 0xE124531: ??? (in /a/koffi.node)
==7==    by 0x1120B95F: ??? (in /a/libggml-base.so)
==7==  Address 0x11079f78 is on thread 1's stack
==7==
==7== Invalid write of size 4
==7==    at 0x1: ggml_compute_forward (in /a/libggml-cpu-haswell.so)
==7==    by 0x2: ??? (in /a/koffi.node)
==7==  Address 0x3 is 0 bytes after a block of size 64 alloc'd
==7==
==7== Conditional jump or move depends on uninitialised value(s)
==7==    at 0x4: ??? (in /usr/bin/node)
==7==
==7== 1,024 (16 direct, 1,008 indirect) bytes in 1 blocks are definitely lost in loss record 9 of 10
==7==    at 0x5: operator new(unsigned long)
==7==    by 0x6: llama_model_load (in /a/libllama.so)
==7==
==7== ERROR SUMMARY: 4 errors from 4 contexts (suppressed: 0 from 0)`;

it('tells errors of native code that we drive from those of the runtime and of changed stacks', () => {
  const { findings, elsewhere, ofCalls } = reportOf(log);
  expect(findings.map((text) => text.split('\n')[0])).toEqual([
    '==7== Invalid write of size 4',
    '==7== 1,024 (16 direct, 1,008 indirect) bytes in 1 blocks are definitely lost in loss record 9 of 10',
  ]);
  expect([elsewhere, ofCalls]).toEqual([1, 1]);
});
