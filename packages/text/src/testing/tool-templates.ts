/** Templates of our own in the idiom of the families that call tools: short, with the markers and forms of the real ones. */
export const toolTemplates = {
  llama3: String.raw`{{- bos_token }}{%- if messages[0].role == 'system' %}{% set system = messages[0].content | trim %}{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}{% if tools is not none %}{{ 'Environment: ipython\n' }}{% endif %}{{ system + '<|eot_id|>' }}
{%- if tools is not none %}{% set first = messages[0].content | trim %}{% set messages = messages[1:] %}
{{- '<|start_header_id|>user<|end_header_id|>\n\nRespond in the format {"name": function name, "parameters": dictionary of argument name and its value}.\n\n' }}{% for t in tools %}{{ t | tojson(indent=4) }}{{ '\n\n' }}{% endfor %}{{ first + '<|eot_id|>' }}{% endif %}
{%- for message in messages %}{% if message.role == 'tool' %}
{{- '<|start_header_id|>ipython<|end_header_id|>\n\n' }}{{ message.content | tojson }}{{ '<|eot_id|>' }}
{%- elif 'tool_calls' in message %}{% if message.tool_calls | length != 1 %}{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}{% set call = message.tool_calls[0].function %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + call.name + '", "parameters": ' }}{{ call.arguments | tojson }}{{ '}<|eot_id|>' }}
{%- else %}{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}{# <|python_tag|> #}`,

  hermes: String.raw`{%- if tools %}{{ '<|im_start|>system\n' }}{% if messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}{{ '<tools>' }}{% for tool in tools %}{{ '\n' + tool | tojson }}{% endfor %}{{ '\n</tools>\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{% endif %}
{%- set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}{% if m.role == 'user' or (m.role == 'system' and not loop.first) %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- elif m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}{% if m.reasoning_content and loop.index0 > ns.last %}{{ '<think>\n' + m.reasoning_content.strip('\n') + '\n</think>\n\n' }}{% endif %}{{ m.content }}
{%- for call in m.tool_calls or [] %}{% if not loop.first or m.content %}{{ '\n' }}{% endif %}{{ '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}{% if call.function.arguments is string %}{{ call.function.arguments }}{% else %}{{ call.function.arguments | tojson }}{% endif %}{{ '}\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}
{%- elif m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}`,

  qwenCoder: String.raw`{%- for m in messages if m.role == 'system' %}{{ '<|im_start|>system\n' + m.content }}{% else %}{{ '<|im_start|>system\nYou help.' }}{% endfor %}{% if tools %}{{ '\n\n<tools>' }}{% for tool in tools %}{{ '\n<function>\n<name>' ~ tool.function.name ~ '</name>' }}{% for name, of in tool.function.parameters.properties | items %}{{ '\n<parameter>\n<name>' ~ name ~ '</name>\n<type>' ~ of.type ~ '</type>\n</parameter>' }}{% endfor %}{{ '\n</function>' }}{% endfor %}{{ '\n</tools>\n\n<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n</function>\n</tool_call>' }}{% endif %}{{ '<|im_end|>\n' }}
{%- for m in messages %}{% if m.role == 'assistant' and m.tool_calls %}{{ '<|im_start|>assistant' }}{% if m.content | trim %}{{ '\n' + m.content | trim + '\n' }}{% endif %}{% for call in m.tool_calls %}{{ '\n<tool_call>\n<function=' + call.function.name + '>\n' }}{% for name, value in call.function.arguments | items %}{{ '<parameter=' + name + '>\n' ~ (value if value is string else value | tojson) ~ '\n</parameter>\n' }}{% endfor %}{{ '</function>\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}
{%- elif m.role == 'tool' %}{{ '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response>\n<|im_end|>\n' }}{% elif m.role != 'system' %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`,

  mistralList: String.raw`{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{% if tools is not none and loop.last %}{{ '[AVAILABLE_TOOLS]' }}{{ tools | tojson }}{{ '[/AVAILABLE_TOOLS]' }}{% endif %}{{ '[INST]' + m.content + '[/INST]' }}
{%- elif m.role == 'system' %}{{ '[INST]' + m.content + '[/INST]' }}
{%- elif m.role == 'assistant' and m.tool_calls is defined %}{{ '[TOOL_CALLS][' }}{% for call in m.tool_calls %}{% if call.id | length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}{{ '{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + ', "id": "' + call.id + '"}' }}{% if not loop.last %}{{ ', ' }}{% endif %}{% endfor %}{{ ']' + eos_token }}
{%- elif m.role == 'assistant' %}{{ m.content + eos_token }}
{%- elif m.role == 'tool' %}{% if m.tool_call_id | length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}{{ '[TOOL_RESULTS]{"content": ' + m.content + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}{% endif %}{% endfor %}`,

  mistralArgs: String.raw`{{ bos_token }}{% if messages[0].role == 'system' %}{{ '[SYSTEM_PROMPT]' + messages[0].content + '[/SYSTEM_PROMPT]' }}{% endif %}{% if tools %}{{ '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{% endif %}
{%- for m in messages %}{% if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}{% elif m.role == 'assistant' %}{{ m.content }}{% for call in m.tool_calls or [] %}{% set args = call.function.arguments %}{{ '[TOOL_CALLS]' + call.function.name + '[ARGS]' + (args if args is string else args | tojson) }}{% endfor %}{{ eos_token }}
{%- elif m.role == 'tool' %}{{ '[TOOL_RESULTS]' + m.content + '[/TOOL_RESULTS]' }}{% endif %}{% endfor %}{# [THINK] and [/THINK] are what it thinks between #}`,

  harmony: String.raw`{{ '<|start|>system<|message|>Reasoning: ' + (reasoning_effort if reasoning_effort is defined else 'medium') + '\n# Valid channels: analysis, commentary, final.<|end|>' }}
{%- if messages[0].role == 'system' %}{% set developer = messages[0].content %}{% set loop_messages = messages[1:] %}{% else %}{% set developer = '' %}{% set loop_messages = messages %}{% endif %}
{%- if developer or tools %}{{ '<|start|>developer<|message|>' + developer }}{% if tools %}{{ 'namespace functions {\n' }}{% for tool in tools %}{{ '// ' + tool.function.description + '\ntype ' + tool.function.name + ' = (_: {' + tool.function.parameters.properties | join(', ') + '}) => any;\n' }}{% endfor %}{{ '}' }}{% endif %}{{ '<|end|>' }}{% endif %}
{%- set last = namespace(name='') %}{% for m in loop_messages %}{% if m.role == 'assistant' %}{% if 'tool_calls' in m %}{% set call = m.tool_calls[0].function %}{% if m.content and m.thinking %}{{ raise_exception('Cannot pass both content and thinking in an assistant message with tool calls!') }}{% elif m.thinking %}{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% elif m.content %}{{ '<|start|>assistant<|channel|>commentary<|message|>' + m.content + '<|end|>' }}{% endif %}{{ '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json<|message|>' + call.arguments | tojson + '<|call|>' }}{% set last.name = call.name %}
{%- elif loop.last and not add_generation_prompt %}{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}{% else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}{% endif %}
{%- elif m.role == 'tool' %}{{ '<|start|>functions.' + last.name + ' to=assistant<|channel|>commentary<|message|>' + m.content | tojson + '<|end|>' }}{% else %}{{ '<|start|>user<|message|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}`,

  deepseekR1:
    String.raw`{{ bos_token }}{% if tools %}{{ 'Tools: ' + tools | tojson }}{% endif %}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}{{ '<｜User｜>' + m.content }}
{%- elif m.role == 'assistant' and m.tool_calls %}{{ '<｜Assistant｜>' + m.content + '<｜tool▁calls▁begin｜>' }}{% for call in m.tool_calls %}{{ '<｜tool▁call▁begin｜>' + call.type + '<｜tool▁sep｜>' + call.function.name + '\n` +
    '```json' +
    String.raw`\n' + call.function.arguments + '\n` +
    '```' +
    String.raw`<｜tool▁call▁end｜>' }}{% endfor %}{{ '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}
{%- elif m.role == 'assistant' %}{{ '<｜Assistant｜>' + m.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{% elif m.role == 'tool' %}{{ '<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>' + m.content + '<｜tool▁output▁end｜><｜tool▁outputs▁end｜>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}`,

  deepseekV31: String.raw`{% if thinking is not defined %}{% set thinking = false %}{% endif %}{{ bos_token }}{% for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}{% if tools %}{{ '\n## Tools\n' + tools | tojson + '\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments<｜tool▁call▁end｜><｜tool▁calls▁end｜>' }}{% endif %}{% for m in messages %}{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}
{%- elif m.role == 'assistant' and m.tool_calls %}{{ '<｜Assistant｜></think>' + m.content + '<｜tool▁calls▁begin｜>' }}{% for call in m.tool_calls %}{{ '<｜tool▁call▁begin｜>' + call.function.name + '<｜tool▁sep｜>' + call.function.arguments | tojson + '<｜tool▁call▁end｜>' }}{% endfor %}{{ '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}
{%- elif m.role == 'assistant' %}{{ '<｜Assistant｜></think>' + m.content + '<｜end▁of▁sentence｜>' }}{% elif m.role == 'tool' %}{{ '<｜tool▁output▁begin｜>' + m.content + '<｜tool▁output▁end｜>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' + ('<think>' if thinking else '</think>') }}{% endif %}`,

  glm: String.raw`{{ '[gMASK]<sop>' }}{% if tools %}{{ '<|system|>\n<tools>\n' }}{% for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}{{ '</tools>\n<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}</arg_value>\n</tool_call>' }}{% endif %}
{%- for m in messages %}{% if m.role == 'assistant' %}{{ '<|assistant|>\n<think>' + (m.reasoning_content if m.reasoning_content is string else '') + '</think>' }}{% if m.content %}{{ '\n' + m.content }}{% endif %}{% for call in m.tool_calls or [] %}{{ '\n<tool_call>' + call.function.name + '\n' }}{% for k, v in call.function.arguments.items() %}{{ '<arg_key>' + k + '</arg_key>\n<arg_value>' + (v if v is string else v | tojson) + '</arg_value>\n' }}{% endfor %}{{ '</tool_call>' }}{% endfor %}
{%- elif m.role == 'tool' %}{{ '<|observation|>\n<tool_response>\n' + m.content + '\n</tool_response>' }}{% else %}{{ '<|' + m.role + '|>\n' + m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{{ '\n<think></think>' if enable_thinking is defined and not enable_thinking else '' }}{% endif %}`,

  kimi: String.raw`{% if tools %}{{ '<|im_system|>tool_declare<|im_middle|>' + tools | tojson + '<|im_end|>' }}{% endif %}{% for m in messages %}{% if m.role == 'system' %}{{ '<|im_system|>system<|im_middle|>' }}{% elif m.role == 'user' %}{{ '<|im_user|>user<|im_middle|>' }}{% elif m.role == 'assistant' %}{{ '<|im_assistant|>assistant<|im_middle|>' }}{% else %}{{ '<|im_system|>tool<|im_middle|>' }}{% endif %}
{%- if m.tool_calls %}{{ m.content + '<|tool_calls_section_begin|>' }}{% for call in m.tool_calls %}{{ '<|tool_call_begin|>' + call.id + '<|tool_call_argument_begin|>' + call.function.arguments | tojson + '<|tool_call_end|>' }}{% endfor %}{{ '<|tool_calls_section_end|>' }}{% elif m.role == 'tool' %}{{ '## Return of ' + m.tool_call_id + '\n' + m.content }}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_assistant|>assistant<|im_middle|>' }}{% endif %}`,

  minimax: String.raw`{{ ']~!b[]~b]system\n' }}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}{% if tools %}{{ '\n<tools>\n' }}{% for tool in tools %}{{ '<tool>' + tool.function | tojson + '</tool>\n' }}{% endfor %}{{ '</tools>\n\n<minimax:tool_call>\n<invoke name="tool-name-1">\n<parameter name="param-key-1">param-value-1</parameter>\n</invoke>\n</minimax:tool_call>' }}{% endif %}{{ '[e~[\n' }}
{%- for m in messages %}{% if m.role == 'assistant' %}{{ ']~b]ai\n' }}{% if m.reasoning_content %}{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}{% endif %}{{ m.content }}{% if m.tool_calls %}{{ '\n<minimax:tool_call>\n' }}{% for call in m.tool_calls %}{{ '<invoke name="' + call.function.name + '">' }}{% for k, v in call.function.arguments.items() %}{{ '<parameter name="' + k + '">' ~ (v if v is string else v | tojson) ~ '</parameter>' }}{% endfor %}{{ '</invoke>\n' }}{% endfor %}{{ '</minimax:tool_call>' }}{% endif %}{{ '[e~[\n' }}
{%- elif m.role == 'tool' %}{{ ']~b]tool\n<response>' + m.content + '</response>[e~[\n' }}{% elif m.role == 'user' %}{{ ']~b]user\n' + m.content + '[e~[\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ ']~b]ai\n<think>\n' }}{% endif %}`,

  /** Knows no tools, and no system message. */
  gemma: String.raw`{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}`,

  /** Knows no tools. */
  chatml: String.raw`{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`,
} as const;

export type ToolFamilyName = keyof typeof toolTemplates;
