// Lists in forms: `<div data-rows="price.meters" data-most="10">` holds a `[data-row]` for each, a
// `<template>` of another and a button `[data-add]`; in each row a button `[data-remove]`. Names inside begin
// with the list's own and the row's number.
'use strict';

{
  const NAMED = ['name', 'data-rows', 'data-when', 'data-field'];

  const rowsOf = (list) => [...list.children].filter((child) => child.matches('[data-row]'));

  const renumber = (list) => {
    const prefix = list.dataset.rows.split('.');
    const rows = rowsOf(list);
    rows.forEach((row, at) => {
      for (const name of NAMED) {
        for (const inner of all(`[${name}]`, row)) {
          const parts = inner.getAttribute(name).split('.');
          if (parts.length > prefix.length) {
            parts.splice(0, prefix.length + 1, ...prefix, String(at));
            inner.setAttribute(name, parts.join('.'));
          }
        }
      }
      const remove = row.querySelector(':scope > [data-remove]');
      if (remove) remove.hidden = rows.length <= Number(list.dataset.least ?? 0);
    });
    list.querySelector(':scope > [data-add]').hidden = rows.length >= Number(list.dataset.most);
    showParts(list.closest('form'));
    list.dispatchEvent(new Event('input', { bubbles: true }));
  };

  document.addEventListener('click', (event) => {
    const button = event.target.closest('[data-add], [data-remove]');
    const list = button?.closest('[data-rows]');
    if (!list) return;
    if ('add' in button.dataset) {
      const blank = list.querySelector(':scope > template').content.cloneNode(true);
      const row = blank.querySelector('[data-row]');
      list.insertBefore(blank, button);
      renumber(list);
      row.querySelector('input:enabled, select:enabled')?.focus();
    } else {
      button.closest('[data-row]').remove();
      renumber(list);
      list.querySelector(':scope > [data-add]').focus();
    }
  });

  // What a form would send, with its examples, as one field: `data-sends-form`.
  document.addEventListener('htmx:config:request', (event) => {
    const { request, sourceElement } = event.detail.ctx;
    if (!sourceElement.matches('[data-sends-form]')) return;
    request.body = new FormData();
    request.body.set('json', JSON.stringify(bodyOf(sourceElement.closest('form'), true)));
  });

  document.addEventListener('DOMContentLoaded', () => {
    for (const list of all('[data-rows]')) renumber(list);
  });
}
