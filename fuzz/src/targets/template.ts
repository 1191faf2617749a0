import { ChatTemplate } from '@butterfly/text';
import type { FuzzTarget } from '../engine/target.js';

const words =
  '{% %} {{ }} {# #} {%- -%} {{- -}} for in endfor if elif else endif set endset macro endmacro call endcall filter endfilter with endwith break continue raw endraw generation endgeneration loop loop.index loop.last loop.previtem loop.cycle( recursive messages message message.role message.content tools add_generation_prompt bos_token namespace( range( dict( joiner( cycler( raise_exception( strftime_now( is not defined string mapping iterable none true false and or not in == != <= ~ // ** | tojson | length | join | trim | upper | replace( | indent( | default( | first | last | list | items | dictsort | map( | select( | selectattr( | groupby( | batch( | slice( | sort | sum | unique | int | float | string | safe | escape | truncate( | wordwrap( | center( | round | format( .split( .strip( .startswith( .format( .items() .get( [::-1] [1:] [0] **kwargs *args varargs caller() self'.split(
    ' ',
  );

const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hello {{ there }}' },
  {
    role: 'assistant',
    content: 'Yes',
    tool_calls: [{ id: 'a', name: 'look', arguments: '{"at":[1,2.5,null]}' }],
  },
] as const;

/** A chat template of a file, rendered for one conversation. */
export const template: FuzzTarget = {
  name: 'template',
  inputBytesMax: 2048,
  words,
  run(input) {
    const made = new ChatTemplate(Buffer.from(input).toString(), { bosToken: '<s>', eosToken: '</s>' });
    made.render(
      messages.map(({ role, content }) => ({ role, content })),
      { addGenerationPrompt: true, values: { enable_thinking: true, depth: 3, names: ['a', 'b'] } },
    );
  },
};
