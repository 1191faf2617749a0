import { NumberField } from '../parts/ui.js';
import type { ChatSettings } from './conversation.js';

const numbers = [
  {
    name: 'temperature',
    label: 'Temperature',
    hint: '0 to 2; 0 takes the likeliest',
    min: 0,
    max: 2,
    step: 0.1,
  },
  { name: 'topP', label: 'Top p', hint: '0 to 1', min: 0, max: 1, step: 0.05 },
  {
    name: 'maxTokens',
    label: 'Tokens at most',
    hint: 'blank: what there is room for',
    min: 1,
    max: 1e9,
    step: 1,
  },
  { name: 'seed', label: 'Seed', hint: 'blank: another one each time', min: 0, max: 1e15, step: 1 },
] as const;

const fields = [
  { name: 'tools', label: 'Tools, as a JSON list', hint: '[{"type": "function", …}]' },
  { name: 'more', label: 'Further fields, as JSON', hint: '{"top_k": 40}' },
] as const;

/** How answers are asked for. */
export function SettingsForm(props: {
  readonly settings: ChatSettings;
  readonly models: readonly string[];
  readonly onChange: (settings: Partial<ChatSettings>) => void;
}) {
  const { settings, models, onChange } = props;
  return (
    <details class="settings" open={innerWidth > 800}>
      <summary>Settings</summary>
      <label>
        Model
        <select
          value={settings.model}
          onChange={({ currentTarget }) => onChange({ model: currentTarget.value })}
        >
          <option value="">the first one</option>
          {models.map((id) => (
            <option key={id} value={id}>
              {id}
            </option>
          ))}
        </select>
      </label>
      <label>
        System prompt
        <textarea
          rows={2}
          value={settings.system}
          onInput={({ currentTarget }) => onChange({ system: currentTarget.value })}
        />
      </label>
      {numbers.map(({ name, ...field }) => (
        <NumberField
          key={name}
          {...field}
          value={settings[name]}
          onInput={(value) => onChange({ [name]: value })}
        />
      ))}
      {fields.map(({ name, label, hint }) => (
        <label key={name}>
          {label}
          <textarea
            rows={2}
            placeholder={hint}
            value={settings[name]}
            onInput={({ currentTarget }) => onChange({ [name]: currentTarget.value })}
          />
        </label>
      ))}
      <label class="check">
        <input
          type="checkbox"
          checked={settings.hasLogprobs}
          onChange={({ currentTarget }) => onChange({ hasLogprobs: currentTarget.checked })}
        />
        Probabilities of tokens
      </label>
    </details>
  );
}
