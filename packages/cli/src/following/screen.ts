import { control, print } from '../terminal.js';

/** Shows texts in the place of each other on a terminal, which is as before at the end; elsewhere one after the other. */
export class Screen implements Disposable {
  readonly #isTerminal = process.stdout.isTTY;

  constructor() {
    if (this.#isTerminal) control('enter');
  }

  /** Lines that fit. */
  get lines(): number {
    return this.#isTerminal ? process.stdout.rows : 60;
  }

  show(text: string): void {
    if (!this.#isTerminal) {
      print(`${text}\n`);
      return;
    }
    const { rows, columns } = process.stdout;
    const lines = text.split('\n').slice(0, rows - 1);
    control('home');
    for (const line of lines) {
      print(line.slice(0, columns));
      control('nextLine');
    }
    control('clearBelow');
  }

  [Symbol.dispose](): void {
    if (this.#isTerminal) control('leave');
  }
}
