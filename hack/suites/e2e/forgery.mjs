// The signed-in user opens foreign pages: no request from them may have an effect, and none may frame the page.
import { createServer } from 'node:http';
import { curl } from './browser.mjs';
import { expect, input } from './steps.mjs';

const api = `${input.url}/rest/api-tokens/latest`;
const form = (action, fields, enctype = 'application/x-www-form-urlencoded') => `
  <form id="f" method="post" action="${action}" enctype="${enctype}">
  ${Object.entries(fields).map(([name, value]) => `<input name='${name}' value='${value}'>`).join('')}
  </form><script>document.getElementById('f').submit()</script>`;
const call = (url, options) => `<script>
  fetch(${JSON.stringify(url)}, ${JSON.stringify({ credentials: 'include', ...options })}).catch(() => {}).finally(() => { document.title = 'sent'; })
  </script>`;

const attacks = {
  'a form to create': () => form(`${input.page}/create`, { user: 'bob', label: 'forged', lifetimeDays: '', access: 'ReadWrite', consent: 'yes', nonce: 'a'.repeat(26) }),
  'a form to revoke': (id) => form(`${input.page}/revoke`, { user: 'bob', id }),
  'a form to revoke all': () => form(`${input.page}/revoke-all`, { user: 'bob', count: '1' }),
  'a form that looks like JSON': () => form(`${api}/`, { '{"label":"forged","x":"': '"}' }, 'text/plain'),
  'a call to create, without leave': () => call(`${api}/`, { method: 'POST', mode: 'no-cors', body: '{"label":"forged"}' }),
  'a call to create, with JSON': () => call(`${api}/`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"label":"forged"}' }),
  'a call to revoke': (id) => call(`${api}/${id}`, { method: 'DELETE' }),
  'a call to revoke all': () => call(`${api}/all`, { method: 'DELETE' }),
  'a call that says that it was checked': () => call(`${api}/`, {
    method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Atlassian-Token': 'no-check' }, body: '{"label":"forged"}',
  }),
};

/** Serves pages on a port of their own: another origin. */
async function serve(pages) {
  const server = createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(`<!DOCTYPE html><title>a page</title>${pages[new URL(request.url, 'http://x').pathname] ?? ''}`);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return server;
}

export async function forgeries(step, signedIn, token) {
  const id = token.slice(0, 20);
  const pages = { '/frame': `<iframe src="${input.page}"></iframe><iframe src="${input.page}/create"></iframe>` };
  const names = Object.keys(attacks);
  names.forEach((name, i) => { pages[`/${i}`] = attacks[name](id); });
  const server = await serve(pages);
  const { port } = server.address();
  // The first is another site, the second another origin of the same site, to which a browser sends all cookies.
  for (const host of [`localhost:${port}`, `127.0.0.1:${port}`]) {
    for (const [i, name] of names.entries()) {
      await step(`${name}, from a page of ${host.split(':')[0]}`, async (note) => {
        const page = await signedIn.context().newPage();
        const answers = [];
        page.on('response', (r) => { if (r.url().startsWith(input.url) && !r.url().includes('/static/')) answers.push(r.status()); });
        const sent = page.waitForEvent('requestfinished', { predicate: (r) => r.url().startsWith(input.url) }).catch(() => {});
        const failed = page.waitForEvent('requestfailed', { predicate: (r) => r.url().startsWith(input.url) }).catch(() => {});
        await page.goto(`http://${host}/${i}`);
        await Promise.race([sent, failed]);
        note(`answered ${answers}`);
        if (answers.some((status) => status < 400 && status !== 302)) throw new Error(`answered ${answers}`);
        await page.close();
        expect('curl with the token', await curl('bob', token), 200);
      });
    }
    await step(`no frame in a page of ${host.split(':')[0]}`, async () => {
      const page = await signedIn.context().newPage();
      await page.goto(`http://${host}/frame`, { waitUntil: 'load' });
      const [, list, refusal] = page.frames();
      // In a frame of another site the browser sends no cookies, so the product shows its login form.
      expect('the page is in the frame', await list.getByText('API token').count(), 0);
      const says = 'This address does not support this method';
      expect('what refuses is in the frame', await refusal.getByText(says).count(), 0);
      await page.goto(`${input.page}/create`);
      expect('what refuses, without a frame', await page.getByText(says).count(), 1);
      await page.close();
    });
  }
  server.close();
}
