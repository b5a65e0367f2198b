//! What a model's makers have written about who speaks: a template of Jinja that turns messages into text, as the
//! transformers library does it.

use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;

/// Steps that a template may take: those of today take some hundred a message.
const FUEL: u64 = 1_000_000;
/// An answer, which no template has in its own text.
const ANSWER: &str = "@the-answer-before@";
/// Whatever was asked before that.
const ASKED: &str = "@what-was-asked@";

/// Who says what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// The words.
    pub content: &'a str,
}

/// A chat's template.
#[derive(Debug, Clone)]
pub struct Template {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

impl Template {
    /// Of its text, with the names of the tokens that begin and end a text.
    ///
    /// # Errors
    /// When it is no template; the text says why.
    pub fn new(text: &str, begin: &str, end: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned("chat", text.to_owned()).map_err(|e| line(&e))?;
        Ok(Self { environment, begin: begin.into(), end: end.into() })
    }

    /// The text of a conversation, up to where the model is to answer.
    ///
    /// # Errors
    /// When the template fails; the text says why.
    pub fn render(&self, messages: &[Message<'_>]) -> Result<String, String> {
        let template = self.environment.get_template("chat").map_err(|e| line(&e))?;
        let values = context! {
            messages, add_generation_prompt => true, bos_token => self.begin, eos_token => self.end,
        };
        template.render(values).map_err(|e| line(&e))
    }

    /// The text before the first answer of a conversation.
    pub(super) fn first(&self, system: Option<&str>, message: &str) -> Result<String, String> {
        let system = system.map(|content| Message { role: "system", content });
        let messages: Vec<_> = system.into_iter().chain([Message { role: "user", content: message }]).collect();
        self.render(&messages)
    }

    /// The text between an answer and the next one. What was said before is not needed: the stream has seen it.
    pub(super) fn next(&self, message: &str) -> Result<String, String> {
        let before = [("user", ASKED), ("assistant", ANSWER), ("user", message)];
        let text = self.render(&before.map(|(role, content)| Message { role, content }))?;
        match text.split_once(ANSWER) {
            Some((_, rest)) => Ok(rest.into()),
            None => Err("it leaves an answer out".into()),
        }
    }
}

/// An error in one line.
fn line(error: &Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<s>system\nBe kind<e>\n' }}{% endif %}{{'<s>' + message['role'] + '\n' + message['content'] + '<e>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}";

    #[test]
    fn turns_joined_are_the_conversation() {
        let template = Template::new(CHATML, "<s>", "<e>").unwrap();
        for system in [None, Some("Be brief")] {
            let (a, b) = (template.first(system, "Who?").unwrap(), template.next(" Why?\n").unwrap());
            let mut all: Vec<Message<'_>> =
                system.map(|content| Message { role: "system", content }).into_iter().collect();
            all.extend(
                [("user", "Who?"), ("assistant", "An owl."), ("user", " Why?\n")]
                    .map(|(role, content)| Message { role, content }),
            );
            assert_eq!(format!("{a}An owl.{b}"), template.render(&all).unwrap());
        }
        assert_eq!(template.first(None, "Who?").unwrap(), "<s>system\nBe kind<e>\n<s>user\nWho?<e>\n<s>assistant\n");
    }

    #[test]
    fn what_templates_call_is_there() {
        let text = "{{- bos_token }}
            {%- for m in messages if m.content.strip().startswith('W') %}
                {%- if not loop.first %}{% continue %}{% endif %}
                {{- m.content | trim }}{{ eos_token }}
            {%- endfor %}";
        let template = Template::new(text, "[", "]").unwrap();
        assert_eq!(template.first(None, "  Who? ").unwrap(), "[Who?]");
    }

    #[test]
    fn a_template_that_fails_says_why() {
        for (text, part) in [
            ("{% for %}", "syntax error"),
            ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
            ("{% for i in range(90000) %}{% for j in range(90000) %}x{% endfor %}{% endfor %}", "fuel"),
            ("{{ messages[0].content }}", "leaves an answer out"),
        ] {
            let error = match Template::new(text, "", "") {
                Err(error) => error,
                Ok(template) => template.next("x").unwrap_err(),
            };
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }
}
