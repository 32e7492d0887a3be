// The builder of a meter's filter: groups of conditions, groups of groups, up to three levels below the root.
// It keeps a tree in the page and writes it as JSON into a hidden input.
'use strict';

{
  const LEVELS_MAX = 3;
  const OPERATORS = [
    ['equals', 'equals'], ['not_equals', 'does not equal'],
    ['greater_than', '>'], ['greater_than_or_equals', '≥'],
    ['less_than', '<'], ['less_than_or_equals', '≤'],
    ['contains', 'contains'], ['does_not_contain', 'does not contain'],
  ];

  // An element with attributes, and texts or elements in it.
  const make = (name, attributes = {}, ...inner) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...inner);
    return element;
  };

  const choice = (label, pairs, className) => {
    const select = make('select', { 'aria-label': label, class: className });
    for (const [value, text] of pairs) select.append(make('option', { value }, text));
    return select;
  };

  const button = (text, label, act) => {
    const made = make('button', { type: 'button', class: 'quiet small', 'aria-label': label }, text);
    made.addEventListener('click', act);
    return made;
  };

  const condition = (changed) => {
    const key = make('input', { 'aria-label': 'Metadata key', placeholder: 'key', class: 'key', spellcheck: 'false' });
    const operator = choice('Comparison', OPERATORS, 'operator');
    const type = choice('Type of the value', [['string', 'text'], ['number', 'number'], ['boolean', 'true/false']], 'type');
    const text = make('input', { 'aria-label': 'Value', placeholder: 'value', class: 'value', spellcheck: 'false' });
    const truth = choice('Value', [['true', 'true'], ['false', 'false']], 'truth');
    truth.hidden = true;
    const row = make('div', { class: 'condition', role: 'group', 'aria-label': 'Condition' }, key, operator, type, text, truth);
    row.append(button('×', 'Remove this condition', () => { row.remove(); changed(); }));
    type.addEventListener('change', () => {
      text.hidden = type.value === 'boolean';
      truth.hidden = !text.hidden;
      text.inputMode = type.value === 'number' ? 'decimal' : 'text';
    });
    return row;
  };

  const group = (level, changed, remove) => {
    const joined = choice('How clauses are joined', [['and', 'all'], ['or', 'any']], 'conjunction');
    const list = make('div', { class: 'clauses' });
    const box = make('div', { class: 'group', role: 'group', 'aria-label': level ? `Group, level ${level}` : 'Filter' });
    const head = make('p', { class: 'group-head' }, 'Match ', joined, ' of');
    if (remove) head.append(button('×', 'Remove this group', () => { box.remove(); changed(); }));
    const addCondition = (focus) => {
      const row = condition(changed);
      list.append(row);
      if (focus) row.querySelector('.key').focus();
      changed();
    };
    const addGroup = () => {
      // A list holds conditions or groups: conditions that are there move into a group of their own.
      const conditions = [...list.children].filter((child) => child.matches('.condition'));
      if (conditions.length) {
        const first = group(level + 1, changed, true);
        first.querySelector('.conjunction').value = joined.value;
        first.querySelector('.clauses').append(...conditions);
        list.append(first);
      }
      const next = group(level + 1, changed, true);
      list.append(next);
      next.addCondition(true);
    };
    // They stay where they are: whoever leaves a field by pressing one changes the field first.
    const more = button('Add condition', 'Add a condition', () => addCondition(true));
    const nest = button('Add group', 'Add a group', addGroup);
    nest.hidden = level >= LEVELS_MAX;
    box.append(head, list, make('p', { class: 'adds' }, more, ' ', nest));
    box.addCondition = addCondition;
    box.refresh = () => { more.hidden = list.querySelector(':scope > .group') !== null; };
    return box;
  };

  // What the tree says; nothing of what is not filled in yet.
  const read = (box) => {
    const clauses = [];
    for (const child of box.querySelector(':scope > .clauses').children) {
      if (child.matches('.group')) {
        const inner = read(child);
        if (inner) clauses.push(inner);
        continue;
      }
      const part = (name) => child.querySelector(`.${name}`).value;
      if (part('key') === '') continue;
      const type = part('type');
      const text = part('value');
      // A number that is none yet goes as it is, so that the daemon says what is wrong with it.
      const number = text.trim() === '' || Number.isNaN(Number(text)) ? text : Number(text);
      const value = type === 'boolean' ? part('truth') === 'true' : type === 'number' ? number : text;
      clauses.push({ key: part('key'), operator: part('operator'), value });
    }
    return clauses.length ? { conjunction: box.querySelector('.conjunction').value, clauses } : null;
  };

  const build = (place) => {
    const hidden = place.querySelector('input[type=hidden]');
    let root = null;
    const changed = () => {
      for (const box of place.querySelectorAll('.group')) box.refresh();
      const filter = root && !root.hidden ? read(root) : null;
      hidden.value = filter ? JSON.stringify(filter) : '';
      hidden.dispatchEvent(new Event('change', { bubbles: true }));
    };
    root = group(0, changed, false);
    root.hidden = true;
    place.append(root);
    const box = place.querySelector('[data-filter-on]');
    box.addEventListener('change', (event) => {
      event.stopPropagation();
      root.hidden = !box.checked;
      if (box.checked && !root.querySelector('.condition')) root.addCondition(true);
      changed();
    });
    root.addEventListener('input', (event) => { event.stopPropagation(); changed(); });
    root.addEventListener('change', (event) => { event.stopPropagation(); changed(); });
  };

  document.addEventListener('DOMContentLoaded', () => {
    for (const place of document.querySelectorAll('[data-filter]')) build(place);
  });
}
