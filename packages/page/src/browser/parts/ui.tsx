import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { failureOf } from '../state/api.js';
import { shareWords } from './format.js';

/** How a thing stands: words and a colour, never a colour alone. */
export function Pill({ tone, children }: { readonly tone: Tone; readonly children: ComponentChildren }) {
  return <span class={`pill ${tone}`}>{children}</span>;
}

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'quiet';

/** A share of a whole as a bar, with its words beside it for those who see no bars. */
export function Bar(props: { readonly share: number; readonly label: string; readonly tone?: Tone }) {
  const share = Math.min(1, Math.max(0, props.share));
  return (
    <div
      class={`bar ${props.tone ?? 'busy'}`}
      role="img"
      aria-label={`${props.label}: ${shareWords(props.share)}`}
    >
      <div style={{ transform: `scaleX(${share.toFixed(3)})` }} />
    </div>
  );
}

export function Panel(props: {
  readonly title: string;
  readonly children: ComponentChildren;
  readonly beside?: ComponentChildren;
}) {
  return (
    <section class="panel" aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        {props.beside}
      </header>
      {props.children}
    </section>
  );
}

/** A number with what it is. */
export function Figure(props: { readonly label: string; readonly value: string; readonly hint?: string }) {
  return (
    <div class="figure" title={props.hint}>
      <dt>{props.label}</dt>
      <dd>{props.value}</dd>
    </div>
  );
}

/** A button whose work takes its time: it cannot be pressed twice, and says what went wrong. */
export function WorkButton(props: {
  readonly work: () => Promise<unknown>;
  readonly children: ComponentChildren;
  readonly label?: string;
}) {
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<string | null>(null);
  const press = async (): Promise<void> => {
    setBusy(true);
    setFailure(null);
    try {
      await props.work();
    } catch (thrown) {
      setFailure(failureOf(thrown).message);
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" disabled={isBusy} aria-label={props.label} onClick={() => void press()}>
        {isBusy ? 'Working…' : props.children}
      </button>
      {failure !== null && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
    </>
  );
}

/** Asks before something is done that cannot be undone. */
export function ConfirmButton(props: {
  readonly question: string;
  readonly confirm: string;
  readonly work: () => Promise<unknown>;
  readonly children: ComponentChildren;
  readonly label?: string;
}) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <button type="button" aria-label={props.label} onClick={() => setOpen(true)}>
        {props.children}
      </button>
      {isOpen && (
        <Dialog title={props.confirm} onClose={() => setOpen(false)}>
          <p>{props.question}</p>
          <div class="actions">
            <button type="button" onClick={() => setOpen(false)}>
              Leave it
            </button>
            <WorkButton
              work={async () => {
                await props.work();
                setOpen(false);
              }}
            >
              {props.confirm}
            </WorkButton>
          </div>
        </Dialog>
      )}
    </>
  );
}

/** A number that may be left blank, as text. */
export function NumberField(props: {
  readonly label: string;
  readonly value: string;
  readonly onInput: (value: string) => void;
  readonly min: number;
  readonly max: number;
  readonly step?: number;
  readonly hint?: string;
}) {
  const { label, value, onInput, hint, ...bounds } = props;
  return (
    <label>
      {label}
      <input
        type="number"
        {...bounds}
        placeholder={hint}
        value={value}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
      />
    </label>
  );
}

/** The heads of the columns of a table. */
export function Heads({ of }: { readonly of: readonly string[] }) {
  return (
    <thead>
      <tr>
        {of.map((head) => (
          <th key={head} scope="col">
            {head}
          </th>
        ))}
      </tr>
    </thead>
  );
}

/** A window before the rest of the page; Escape closes it. */
export function Dialog(props: {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog ref={dialog} aria-label={props.title} onCancel={props.onClose}>
      <h2>{props.title}</h2>
      {props.children}
    </dialog>
  );
}

export function CopyButton({ text, label = 'Copy' }: { readonly text: string; readonly label?: string }) {
  const [said, say] = useState(label);
  const copy = async (): Promise<void> => {
    // Browsers give the clipboard to pages of their own machine, or over TLS, alone.
    const isCopied =
      isSecureContext &&
      (await navigator.clipboard.writeText(text).then(
        () => true,
        () => false,
      ));
    say(isCopied ? 'Copied' : 'Select it, and copy by hand');
    setTimeout(() => say(label), 2_000);
  };
  return (
    <button type="button" onClick={() => void copy()} aria-live="polite">
      {said}
    </button>
  );
}
