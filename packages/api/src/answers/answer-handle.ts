/** How a client may find its answer again. */
export type AnswerHandle =
  /** The latest answer of a conversation: llama-server's `X-Conversation-Id`. */
  | { readonly kind: 'conversation'; readonly id: string }
  /** The answer to one request, however often it is sent. */
  | { readonly kind: 'key'; readonly id: string }
  /** By its own id: a response in the background. */
  | { readonly kind: 'response'; readonly id: string };

/** Handles of one client are not those of another. */
export const handleText = ({ kind, id }: AnswerHandle, tenant: string | undefined): string =>
  `${kind}/${tenant ?? ''}/${id}`;
