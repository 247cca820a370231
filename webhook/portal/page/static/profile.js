'use strict';

// Draws the block "API tokens" in the signed-in user's own profile in Jira and Confluence: docs/how-to/profile-block.md. It does
// nothing on every other page, and draws nothing while the portal does not answer. Texts are text nodes, never markup.
(() => {
	const file = '/plugins/servlet/api-tokens/static/profile.js';
	const source = document.currentScript && new URL(document.currentScript.src || 'about:blank');
	// Another origin's script could not be trusted with the session, and the REST API refuses it.
	if (!source || source.origin !== location.origin || !source.pathname.endsWith(file)) return;
	const context = source.pathname.slice(0, -file.length);
	const page = `${context}/plugins/servlet/api-tokens`;
	const api = `${context}/rest/api-tokens/latest/`;

	/** The user's own profile, by product: the path of the page, and behind which of its elements the block comes. */
	const profile = [
		{ product: 'Jira', path: '/secure/ViewProfile.jspa', heading: 'h3', behind: ['#details-profile-fragment'] },
		{ product: 'Confluence', path: '/users/viewmysettings.action', heading: 'h2', behind: ['form[name="editUser"]', '.profile-main > :last-child'] },
	].find((one) => location.pathname === context + one.path);
	if (!profile) return;
	const who = document.querySelector('meta[name="ajs-remote-user"]')?.content;
	const shown = new URLSearchParams(location.search).get('name');
	if (!who || (shown !== null && shown !== who)) return; // nobody's profile, or that of somebody else

	const licence = {
		InvalidLicenseMissing: 'their licence is missing', InvalidLicenseMalformed: 'their licence is malformed',
		InvalidLicenseWrongSignature: 'their licence has a wrong signature', InvalidLicenseExpired: 'their licence has expired',
		InvalidLicenseWrongProduct: 'their licence is for the wrong product',
	};
	const states = {
		Active: 'Active', Expired: 'Expired', Suspended: 'Suspended', Revoked: 'Revoked', NotAllowed: 'Not allowed', Blocked: 'Blocked',
	};

	/** An element with attributes, listeners (on: {...}) and children. A child that is a string becomes a text node. */
	function element(tag, { on = {}, ...attributes } = {}, ...children) {
		const made = document.createElement(tag);
		for (const [name, value] of Object.entries(attributes)) if (value !== false) made.setAttribute(name, value === true ? '' : value);
		for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
		made.append(...children.filter(Boolean));
		return made;
	}
	const button = (text, look, click) => element('button', { type: 'button', class: `at-button ${look}`, on: { click } }, text);
	const day = (millis) => (millis === null ? 'never' : new Date(millis).toISOString().slice(0, 10));

	/**
	 * Sends a request with the session of the browser, for the user whose profile this is: somebody else may have signed in since.
	 * It throws what the answer says is wrong.
	 */
	async function call(method, path, body) {
		const headers = { Accept: 'application/json', 'X-Api-Token-Expected-User': encodeURIComponent(who) };
		if (method !== 'GET') headers['X-Atlassian-Token'] = 'no-check';
		if (body) headers['Content-Type'] = 'application/json';
		let answer;
		try {
			answer = await fetch(api + path, { method, headers, body: body && JSON.stringify(body), credentials: 'same-origin', redirect: 'error', cache: 'no-store' });
		} catch {
			throw new Error('There was no answer. Try again.');
		}
		const told = answer.status === 204 ? null : await answer.json().catch(() => null);
		if (!answer.ok) {
			const texts = [...(told?.errorMessages ?? []), ...Object.values(told?.errors ?? {}), told?.message].filter((text) => typeof text === 'string');
			throw new Error(texts.join(' ') || `It did not work (HTTP ${answer.status}). Try again.`);
		}
		return { told, reason: answer.headers.get('X-Api-Token-Reason') };
	}

	const content = element('div', { class: 'mod-content' });
	const block = element('div', { id: 'api-tokens', class: 'module' },
		element('div', { class: 'mod-header' }, element(profile.heading, { class: 'toggle-title', id: 'api-tokens-title' }, 'API tokens')), content);

	/** Loads the list, and draws it with a note above. It throws if there is no list. */
	async function load(note) {
		const { told: tokens, reason } = await call('GET', '');
		if (!Array.isArray(tokens)) throw new Error('There is no list.');
		const told = note && element('p', { class: 'at-message at-good', role: 'status' }, note);
		content.replaceChildren(...[told, warning(reason), ...(tokens.length ? list(tokens) : [nothing()]), actions(tokens)].filter(Boolean));
	}
	const reload = (note) => load(note).catch((error) => content.prepend(failure(error)));

	function warning(reason) {
		return licence[reason] && element('p', { class: 'at-message at-bad', role: 'note' },
			`API tokens do not work at the moment: ${licence[reason]}. You can still create and revoke them. Ask the administrator of this ${profile.product}.`);
	}
	const failure = (error) => element('p', { class: 'at-message at-bad', role: 'alert' }, error.message);
	const nothing = () => element('p', { class: 'at-empty' },
		'You have no API tokens yet. A script uses one in place of your password.');

	function list(tokens) {
		return [element('ul', { class: 'at-list', 'aria-labelledby': 'api-tokens-title' }, ...tokens.map((token) => {
			const facts = [
				`Created ${day(token.createdAt)}`, `last used ${day(token.lastAccessed)}`,
				token.expiresAt === null ? 'does not expire' : `expires ${day(token.expiresAt)}`, token.access === 'ReadOnly' && 'read-only',
			].filter(Boolean).join(', ');
			const good = token.state === 'Active';
			const revoke = button('Revoke', 'at-link', () => askToRevoke(token, tokens));
			revoke.setAttribute('aria-label', `Revoke ${token.label}`);
			return element('li', {},
				element('div', { class: 'at-about' },
					element('span', { class: 'at-label', dir: 'auto' }, token.label),
					element('span', { class: 'at-facts' }, facts)),
				element('span', { class: `at-badge ${good ? 'at-good' : 'at-bad'}` }, states[token.state] ?? 'Does not work'),
				revoke);
		}))];
	}

	function actions(tokens) {
		return element('p', { class: 'at-actions' },
			button('Create API token', 'at-primary', () => askToCreate(tokens)),
			tokens.length > 0 && button('Revoke API tokens', '', () => askToRevokeAll(tokens)),
			element('a', { class: 'at-more', href: page }, 'Limits, rotation and more'));
	}

	/** Opens a dialog with a form. run does what it asks about; its error is shown there. */
	function ask(title, parts, doing, look, run) {
		const problem = element('div');
		const send = element('button', { type: 'submit', class: `at-button ${look}` }, doing);
		const cancel = button('Cancel', 'at-link', () => dialog.close());
		const form = element('form', { autocomplete: 'off' }, element('h2', { id: 'api-tokens-dialog' }, title), problem, ...parts,
			element('p', { class: 'at-actions' }, send, cancel));
		const dialog = element('dialog', { 'aria-labelledby': 'api-tokens-dialog', on: { close: () => dialog.remove() } }, form);
		form.addEventListener('submit', async (event) => {
			event.preventDefault();
			if (send.disabled) return; // only once: only the last answer would be shown
			send.disabled = true;
			problem.replaceChildren();
			try {
				await run(dialog);
			} catch (error) {
				problem.replaceChildren(failure(error));
			}
			send.disabled = false;
		});
		block.append(dialog);
		dialog.showModal();
	}

	function askToCreate(tokens) {
		const label = element('input', { type: 'text', id: 'at-label', class: 'at-field', required: true, maxlength: '255', dir: 'auto' });
		const days = element('input', { type: 'number', id: 'at-days', class: 'at-field at-short', min: '1', max: '3650', value: '90', inputmode: 'numeric' });
		// A user with a token that works has agreed before.
		const agreed = tokens.some((token) => token.state === 'Active');
		const consent = element('input', { type: 'checkbox', id: 'at-consent', required: true });
		ask('Create API token', [
			element('p', {}, element('label', { for: 'at-label' }, 'Label'), label),
			element('p', {}, element('label', { for: 'at-days' }, 'Lifetime in days (empty: as this site says)'), days),
			!agreed && element('p', { class: 'at-consent' }, consent, element('label', { for: 'at-consent' },
				`Yes, my API tokens may act with a personal access token of mine in ${profile.product}: create it if there is none, and store it.`)),
		].filter(Boolean), 'Create', 'at-primary', async (dialog) => {
			const body = { label: label.value };
			if (days.value) body.lifetimeDays = Number(days.value);
			const { told } = await call('POST', '', body);
			dialog.close();
			await reload();
			show(told);
		});
	}

	/** Shows a new token once, above the list. */
	function show({ token, label }) {
		const text = element('code', { class: 'at-token', translate: 'no', tabindex: '0' }, token);
		const said = element('span', { role: 'status' });
		const gone = () => { text.textContent = ''; once.remove(); removeEventListener('pagehide', gone); };
		const copy = button('Copy', '', async () => {
			try {
				await navigator.clipboard.writeText(token);
				said.textContent = 'Copied.';
			} catch { // not allowed, or the page was loaded without TLS
				getSelection().selectAllChildren(text);
				said.textContent = 'Selected. Copy it with your keyboard.';
			}
		});
		const once = element('div', { class: 'at-message at-good', role: 'group', 'aria-label': 'New API token' },
			element('p', {}, 'Copy the token of ', element('b', { dir: 'auto' }, label), ' now: you will not see it again.'),
			element('p', {}, text),
			element('p', { class: 'at-actions' }, copy, button('I have copied it', 'at-link', gone), said));
		addEventListener('pagehide', gone); // the browser's back button must not show it again
		content.prepend(once);
		text.focus();
	}

	/** The tokens that were created with this one, with those, and so on. */
	function descendants(id, tokens, found = new Set()) {
		for (const token of tokens) {
			if (token.createdBy !== id || found.has(token.id)) continue;
			found.add(token.id);
			descendants(token.id, tokens, found);
		}
		return found;
	}

	function askToRevoke(token, tokens) {
		const children = descendants(token.id, tokens).size;
		const too = element('input', { type: 'checkbox', id: 'at-too' });
		ask('Revoke API token', [
			element('p', {}, 'Scripts that use ', element('b', { dir: 'auto' }, token.label), ' will no longer work.'),
			children > 0 && element('p', {}, too, element('label', { for: 'at-too' }, `Also revoke those that were created with it: ${children}.`)),
		].filter(Boolean), 'Revoke', 'at-danger', async (dialog) => {
			await call('DELETE', encodeURIComponent(token.id) + (too.checked ? '?descendants=true' : ''));
			dialog.close();
			await reload('The API token was revoked. It no longer works.');
		});
	}

	function askToRevokeAll(tokens) {
		ask('Revoke all API tokens', [
			element('p', {}, tokens.length === 1 ? 'Your API token will no longer work.' : `All your ${tokens.length} API tokens will no longer work.`),
		], 'Revoke all', 'at-danger', async (dialog) => {
			await call('DELETE', 'all');
			dialog.close();
			await reload('All your API tokens were revoked. None of them works any more.');
		});
	}

	/** Puts the block where it belongs, unless it is there. Jira loads the tabs of a profile without a new page. */
	function place() {
		if (block.isConnected) return;
		for (const selector of profile.behind) {
			const before = document.querySelector(selector);
			if (!before) continue;
			before.after(block);
			return;
		}
	}

	async function start() {
		if (document.getElementById('api-tokens')) return; // the script is in the page twice
		try {
			await load();
		} catch {
			return; // nobody is signed in, or the portal is away: the profile stays as it was
		}
		if (document.getElementById('api-tokens')) return;
		const style = new CSSStyleSheet();
		style.replaceSync(css);
		document.adoptedStyleSheets = [...document.adoptedStyleSheets, style];
		place();
		new MutationObserver(place).observe(document.body, { childList: true, subtree: true });
	}

	// The product's design tokens (--ds-...), where it has them: Jira 10, Confluence 9. Else their values in the product's theme.
	const css = `
#api-tokens {
	--at-text: var(--ds-text, #172b4d); --at-subtle: var(--ds-text-subtle, #505f79); --at-line: var(--ds-border, #dfe1e6);
	--at-over: var(--ds-surface-overlay, #fff); --at-edge: var(--ds-border-input, #7a869a); --at-field: var(--ds-background-input, #fff);
	--at-link: var(--ds-link, #0052cc); --at-brand: var(--ds-background-brand-bold, #0052cc); --at-inverse: var(--ds-text-inverse, #fff);
	--at-neutral: var(--ds-background-neutral, #ebecf0); --at-danger: var(--ds-background-danger-bold, #c9372c);
	--at-good: var(--ds-background-success, #e3fcef); --at-good-text: var(--ds-text-success, #006644);
	--at-bad: var(--ds-background-danger, #ffebe6); --at-bad-text: var(--ds-text-danger, #ae2a19); --at-focus: var(--ds-border-focused, #4c9aff);
	color: var(--at-text);
}
html[data-color-mode="dark"] #api-tokens {
	--at-text: var(--ds-text, #c7d1db); --at-subtle: var(--ds-text-subtle, #9fadbc); --at-line: var(--ds-border, #3b444c);
	--at-over: var(--ds-surface-overlay, #282e33); --at-edge: var(--ds-border-input, #8696a7); --at-field: var(--ds-background-input, #22272b);
	--at-link: var(--ds-link, #85b8ff); --at-brand: var(--ds-background-brand-bold, #579dff); --at-inverse: var(--ds-text-inverse, #161a1d);
	--at-neutral: var(--ds-background-neutral, #38414a); --at-danger: var(--ds-background-danger-bold, #f87168);
	--at-good: var(--ds-background-success, #1c3329); --at-good-text: var(--ds-text-success, #7ee2b8);
	--at-bad: var(--ds-background-danger, #42221f); --at-bad-text: var(--ds-text-danger, #fd9891); --at-focus: var(--ds-border-focused, #85b8ff);
}
#api-tokens, #api-tokens * { box-sizing: border-box; }
#api-tokens p { margin: 8px 0 0; }
#api-tokens .at-list { list-style: none; margin: 0; padding: 0; }
#api-tokens .at-list li { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 12px; margin: 0; padding: 8px 0; border-bottom: 1px solid var(--at-line); }
#api-tokens .at-about { flex: 1 1 200px; min-width: 0; overflow-wrap: anywhere; }
#api-tokens .at-label { display: block; font-weight: 600; }
#api-tokens .at-facts, #api-tokens .at-empty { color: var(--at-subtle); }
#api-tokens .at-badge { padding: 2px 6px; border-radius: 3px; font-size: 11px; font-weight: 700; }
#api-tokens .at-good { background: var(--at-good); color: var(--at-good-text); }
#api-tokens .at-bad { background: var(--at-bad); color: var(--at-bad-text); }
#api-tokens .at-message { margin: 8px 0; padding: 12px; border-radius: 3px; }
#api-tokens .at-message p:first-child { margin-top: 0; }
#api-tokens .at-actions { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 12px; margin-top: 12px; }
#api-tokens .at-button { min-height: 32px; padding: 4px 12px; border: 0; border-radius: 3px; background: var(--at-neutral); color: var(--at-text); font: inherit; cursor: pointer; }
#api-tokens .at-button:hover { filter: brightness(.94); }
#api-tokens .at-button:disabled { opacity: .6; cursor: default; }
#api-tokens .at-primary { background: var(--at-brand); color: var(--at-inverse); }
#api-tokens .at-danger { background: var(--at-danger); color: var(--at-inverse); }
#api-tokens .at-link { background: none; color: var(--at-link); }
#api-tokens .at-good .at-link { color: inherit; text-decoration: underline; }
#api-tokens .at-more { color: var(--at-link); }
#api-tokens :focus-visible { outline: 2px solid var(--at-focus); outline-offset: 2px; }
#api-tokens dialog { width: 440px; max-width: calc(100vw - 32px); padding: 24px; border: 1px solid var(--at-line); border-radius: 3px; background: var(--at-over); color: var(--at-text); }
#api-tokens dialog::backdrop { background: rgb(9 30 66 / 54%); }
#api-tokens dialog h2 { margin: 0; font-size: 20px; font-weight: 500; color: inherit; }
#api-tokens dialog form > p:not(.at-consent) label { display: block; font-weight: 600; }
#api-tokens .at-consent { display: flex; gap: 8px; }
#api-tokens .at-field { width: 100%; min-height: 36px; margin-top: 4px; padding: 6px 8px; border: 1px solid var(--at-edge); border-radius: 3px; background: var(--at-field); color: var(--at-text); font: inherit; }
#api-tokens .at-short { width: 120px; }
#api-tokens .at-token { display: block; padding: 8px; border: 1px solid currentcolor; border-radius: 3px; background: none; color: inherit; overflow-wrap: anywhere; }
@media (max-width: 500px) {
	#api-tokens .at-button { min-height: 44px; }
	#api-tokens .at-field { min-height: 44px; font-size: 16px; }
}
`;

	if (document.readyState === 'loading') addEventListener('DOMContentLoaded', start);
	else start();
})();
