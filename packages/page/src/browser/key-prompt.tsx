import { useState } from 'preact/hooks';
import { usePage, useStore } from './parts/page-context.js';
import { Panel } from './parts/ui.js';

/** Asks for a key where the server lets nobody in without. */
export function KeyPrompt() {
  const store = useStore();
  const { link, hasKey } = usePage();
  const [key, setKey] = useState('');
  const [isRemembered, remember] = useState(false);
  const submit = (event: Event): void => {
    event.preventDefault();
    store.useKey(key.trim() === '' ? null : key.trim(), isRemembered);
  };
  return (
    <Panel title="A key is needed">
      <p>{link.kind === 'denied' && link.words}</p>
      {hasKey && <p class="failure">The key that was given is not good for this.</p>}
      <form onSubmit={submit}>
        <label>
          Key of an administrator, or the join token
          <input
            type="password"
            autocomplete="off"
            value={key}
            onInput={({ currentTarget: { value } }) => setKey(value)}
          />
        </label>
        <label class="check">
          <input
            type="checkbox"
            checked={isRemembered}
            onChange={({ currentTarget }) => remember(currentTarget.checked)}
          />
          Keep it in this browser; else it is forgotten with this window
        </label>
        <button type="submit" class="main">
          Use it
        </button>
      </form>
    </Panel>
  );
}
