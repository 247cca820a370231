'use strict';

// An open dialog becomes modal: the focus stays inside, and Esc returns to the list.
const dialog = document.querySelector('dialog[open]');
if (dialog) {
	dialog.removeAttribute('open');
	dialog.showModal();
	dialog.addEventListener('close', () => location.replace(dialog.querySelector('[data-back]').href));
}

// A form is sent once, even if its button is pressed again: only the last answer would be shown.
for (const form of document.forms) {
	let sent = false;
	form.addEventListener('submit', (event) => {
		if (sent) event.preventDefault();
		sent = true;
	});
	addEventListener('pageshow', () => { sent = false; });
}

async function copy(element) {
	try {
		await navigator.clipboard.writeText(element.textContent);
		return true;
	} catch { // not allowed, or the page was loaded without TLS
		getSelection().selectAllChildren(element);
		return document.execCommand('copy');
	}
}

const status = document.querySelector('.status');
for (const button of document.querySelectorAll('[data-copy]')) {
	button.hidden = false;
	button.addEventListener('click', async () => {
		const copied = await copy(document.getElementById(button.dataset.copy));
		status.textContent = copied ? 'Copied.' : 'Selected. Copy it with your keyboard.';
	});
}

// The browser's back button must not show the token again.
addEventListener('pagehide', () => {
	for (const secret of document.querySelectorAll('[data-secret]')) secret.textContent = '';
	for (const note of document.querySelectorAll('.secret, .gone')) note.hidden = note.className === 'secret';
});
