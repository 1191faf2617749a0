import MarkdownIt from 'markdown-it';

/**
 * What a model wrote, as HTML: none of its own tags, no images, which would be fetched from elsewhere, and no styles, which the
 * policy of the page forbids.
 */
const markdown = new MarkdownIt({ html: false, linkify: false, breaks: true }).disable('image');

const plainLink = markdown.renderer.rules.link_open;
markdown.renderer.rules.link_open = (tokens, index, options, env, self) => {
  tokens[index]?.attrSet('rel', 'noreferrer noopener');
  tokens[index]?.attrSet('target', '_blank');
  return plainLink ? plainLink(tokens, index, options, env, self) : self.renderToken(tokens, index, options);
};

for (const cell of ['th_open', 'td_open'])
  markdown.renderer.rules[cell] = (tokens, index, options, _env, self) => {
    const token = tokens[index];
    const align = /text-align:(\w+)/.exec(String(token?.attrGet('style') ?? ''))?.[1];
    if (token) token.attrs = align === undefined ? null : [['class', `align-${align}`]];
    return self.renderToken(tokens, index, options);
  };

export function htmlOf(text: string): string {
  return markdown.render(text);
}
