import { render } from 'preact';
import { App } from './app.js';
import { ChatDesk } from './chat/chat-desk.js';
import { PageContext } from './parts/page-context.js';
import { applyTheme, readTheme } from './state/settings.js';
import { LiveStore } from './state/store.js';

const store = new LiveStore();
const desk = new ChatDesk(store.api);
applyTheme(readTheme());
const place = document.getElementById('page');
if (place)
  render(
    <PageContext.Provider value={store}>
      <App desk={desk} />
    </PageContext.Provider>,
    place,
  );
store.start();
