import type { JoinLine } from '@butterfly/telemetry';
import { useState } from 'preact/hooks';
import { durationWords, momentWords, plural } from '../parts/format.js';
import { useNow, usePage, useStore } from '../parts/page-context.js';
import { CopyButton, NumberField, Panel, WorkButton } from '../parts/ui.js';

/** Makes the line with which the next machine joins. */
export function JoinView() {
  const { api } = useStore();
  const { live } = usePage();
  const nowMs = useNow() + live.skewMs;
  const [hours, setHours] = useState('24');
  const [uses, setUses] = useState('1');
  const [made, setMade] = useState<JoinLine | null>(null);
  const make = async (): Promise<void> =>
    setMade(
      await api.post<JoinLine>('/cluster/join-lines', {
        ...(hours === '' ? {} : { hours: Number(hours) }),
        ...(uses === '' ? {} : { uses: Number(uses) }),
      }),
    );
  return (
    <Panel title="The next machine">
      <p>Make a line here, and run it on the machine that is to join. It has Butterfly and nothing else.</p>
      <div class="fields">
        <NumberField label="Good for hours" min={1} max={8760} value={hours} onInput={setHours} />
        <NumberField label="For machines" min={1} max={1000} value={uses} onInput={setUses} />
        <WorkButton work={make}>Make the line</WorkButton>
      </div>
      {made && (
        <>
          <pre class="join-line" tabIndex={0} aria-label="The line to run">
            {made.line}
          </pre>
          <CopyButton text={made.line} />
          <p class="quiet">
            {made.usesMax === null ? 'For any number of machines' : `For ${plural(made.usesMax, 'machine')}`}
            {made.expiresMs === null
              ? ', without an end.'
              : made.expiresMs > nowMs
                ? `, until ${momentWords(made.expiresMs, nowMs)}: ${durationWords(made.expiresMs - nowMs)} more.`
                : '. It has expired; make another one.'}
          </p>
          <p class="note">
            Whoever has this line can join the cluster and sees what it computes. Send it as you would send a
            password.
          </p>
        </>
      )}
    </Panel>
  );
}
