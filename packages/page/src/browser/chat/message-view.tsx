import { useMemo, useState } from 'preact/hooks';
import { plural, rounded } from '../parts/format.js';
import { CopyButton } from '../parts/ui.js';
import type { Answer, ChatMessage, ScoredToken, ToolCall } from './conversation.js';
import { htmlOf } from './markdown.js';

/** One message of a chat. */
export function MessageView({ message }: { readonly message: ChatMessage }) {
  switch (message.role) {
    case 'user':
      return (
        <article class="message user" aria-label="You">
          <p class="as-written">{message.text}</p>
        </article>
      );
    case 'tool':
      return (
        <article class="message tool" aria-label={`Result of ${message.name}`}>
          <details>
            <summary>Result of {message.name}</summary>
            <pre tabIndex={0}>{message.text}</pre>
          </details>
        </article>
      );
    case 'assistant':
      return <AnswerView answer={message} />;
    default:
      return message satisfies never;
  }
}

function AnswerView({ answer }: { readonly answer: Answer }) {
  const { text, reasoning, toolCalls, tokens, end, usage } = answer;
  const html = useMemo(() => htmlOf(text), [text]);
  const [areTokensShown, showTokens] = useState(false);
  return (
    <article class="message assistant" aria-label="Answer" aria-busy={end === null}>
      {reasoning !== '' && (
        <details class="reasoning">
          <summary>Reasoning</summary>
          <p class="as-written">{reasoning}</p>
        </details>
      )}
      {areTokensShown ? (
        <Tokens tokens={tokens} />
      ) : (
        <div class="markdown" dangerouslySetInnerHTML={{ __html: html }} />
      )}
      {toolCalls.map((call) => (
        <Call key={call.id} call={call} />
      ))}
      {end === null && <p class="quiet writing">{text === '' ? 'Waits for the first token…' : 'Writes…'}</p>}
      <End answer={answer} />
      {end !== null && (
        <footer>
          {usage && (
            <span class="quiet">
              {plural(usage.outputTokens, 'token')} after {plural(usage.promptTokens, 'token')} of prompt
            </span>
          )}
          <CopyButton text={text} />
          {tokens.length > 0 && (
            <button type="button" aria-pressed={areTokensShown} onClick={() => showTokens(!areTokensShown)}>
              Probabilities
            </button>
          )}
        </footer>
      )}
    </article>
  );
}

function End({ answer: { end } }: { readonly answer: Answer }) {
  switch (end?.kind) {
    case undefined:
      return null;
    case 'done':
      return end.reason === 'length' ? (
        <p class="note">It ends here since it may be no longer.</p>
      ) : end.reason === 'content_filter' ? (
        <p class="note">It was ended.</p>
      ) : null;
    case 'stopped':
      return <p class="note">You stopped it.</p>;
    case 'cut':
      return (
        <p class="failure" role="alert">
          The stream was cut before its end; what is here is all that came.
        </p>
      );
    case 'failed':
      return (
        <p class="failure" role="alert">
          <b>{end.code}</b> {end.message}
        </p>
      );
    default:
      return end satisfies never;
  }
}

function Call({ call }: { readonly call: ToolCall }) {
  return (
    <details class="call">
      <summary>Calls {call.name}</summary>
      <pre tabIndex={0}>{call.arguments}</pre>
    </details>
  );
}

/** Each token on the shade of how likely it was. */
function Tokens({ tokens }: { readonly tokens: readonly ScoredToken[] }) {
  const [chosen, choose] = useState<number | null>(null);
  const token = chosen === null ? undefined : tokens[chosen];
  return (
    <>
      <p class="tokens">
        {tokens.map(({ token: text, logprob }, index) => (
          <button
            key={index}
            type="button"
            class={`token likely-${Math.min(4, Math.floor(Math.exp(logprob) * 5))}`}
            aria-label={`${text}, ${percentWords(logprob)}`}
            aria-pressed={index === chosen}
            onClick={() => choose(index)}
          >
            {text.replaceAll('\n', '⏎')}
          </button>
        ))}
      </p>
      {token && (
        <ul class="top-tokens" aria-live="polite">
          {token.top.map(({ token: text, logprob }) => (
            <li key={text}>
              <code>{JSON.stringify(text)}</code> {percentWords(logprob)}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

const percentWords = (logprob: number): string => `${rounded(Math.exp(logprob) * 100)} %`;
