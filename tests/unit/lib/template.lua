local t = gw.template {
  name = "notice", width = 30,
  languages = {
    en = "Dear {{name}},\n\n{{#rcpts}}\n- {{address}} ({{status}})\n{{/rcpts}}\n{{^rcpts}}\nnobody\n{{/rcpts}}\n{{! a remark }}Bye {{sender.name}}",
    de = "Hallo {{name}}",
  },
}
local text, language = t:render({ name = "Ann", sender = { name = "Bob" }, rcpts = { { address = "x@y", status = 5 }, { address = "z" , status = "6" } } }, "en-GB")
assert(text == "Dear Ann,\n\n- x@y (5)\n- z (6)\nBye Bob", text)
assert(language == "en")
assert(t:render({ name = "x", sender = { name = "y" } }):find("nobody\nBye y", 1, true))
text, language = t:render({ name = "J\r\nSubject: x\27" }, "de-AT-1996")
assert(text == "Hallo J Subject: x " and language == "de", text)
assert(select(2, t:render({ name = "a", sender = { name = "b" } }, "fr")) == "en")
assert(t:language("DE") == "de" and t:language(nil) == "en")
-- A value that is not there is a mistake, not an empty text.
assert(not pcall(t.render, t, { name = "Ann" }))
assert(not pcall(t.render, t, { name = { "Ann" } }, "de"))

local h = gw.template { format = "html", languages = { en = "<b>{{x}}</b>{{#list}}<i>{{this}}</i>{{/list}}" } }
assert(h:render { x = "<script>\"&'", list = { 1, "a<" } } == "<b>&lt;script&gt;&quot;&amp;&#39;</b><i>1</i><i>a&lt;</i>")
-- What a value says is not looked at again.
assert(h:render { x = "{{list}}", list = {} } == "<b>{{list}}</b>")

local w = gw.template { width = 20, languages = { en = "{{words}}\n> {{words}}\n  {{words}}" } }
local words = "äääää bbbbb ccccc ddddd eeeee"
text = w:render { words = words }
assert(text == "äääää bbbbb ccccc\nddddd eeeee\n> " .. words .. "\n  " .. words, text)
local s = gw.template { format = "header", languages = { en = "Re: {{x}}\n more" } }
assert(s:render { x = "a\nb" } == "Re: a b more")
-- Bounds.
local big = {}
for i = 1, 600 do big[i] = ("x"):rep(1000) end
assert(not pcall(h.render, h, { x = "", list = big }))
assert(not pcall(gw.template, { languages = { en = ("{{#a}}"):rep(20) .. ("{{/a}}"):rep(20) } }))
assert(not pcall(gw.template, { languages = { en = "{{a" } }))
assert(not pcall(gw.template, { languages = { en = "{{/a}}" } }))
assert(not pcall(function() return t.rendr end))
